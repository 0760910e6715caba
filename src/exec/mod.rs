//! Code memory and entry into native code: an unsafe room.
