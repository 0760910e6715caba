//! Program-visible memory: type-stable slabs, bytes shared with programs, checked access. The unsafe room of memory.
