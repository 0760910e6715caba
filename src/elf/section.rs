//! Section names and the program types they stand for.
