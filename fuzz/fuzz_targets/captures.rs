#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| beelift_fuzz::captures(data));
