//! Control-flow graph of a program: basic blocks, edges, call graph, loops.
#![forbid(unsafe_code)]
