//! See `jail::fuzzing::profile`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _taken: bool = jail::fuzzing::profile(bytes);
});
