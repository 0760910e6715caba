//! The running Linux kernel: load, test run, maps, pins.
