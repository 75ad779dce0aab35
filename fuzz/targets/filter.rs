//! See `jail::fuzzing::filter`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _taken: bool = jail::fuzzing::filter(bytes);
});
