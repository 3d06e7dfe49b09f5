//! The name of a record of the control plane: it reads as what wrote it, or not at all.

#![no_main]

use headland_control_store::{Key, Prefix};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    if let Ok(key) = input.parse::<Key>() {
        assert_eq!(key.as_str(), input);
        let again = Key::new(&key.kind(), key.parts()).expect("what was read can be written");
        assert_eq!(again, key);
        assert!(Prefix::kind(&key.kind()).expect("a kind").contains(&key));
    }
    // Any text is a part, if it is not too long.
    if let Ok(key) = Key::new("part", [input]) {
        assert_eq!(key.parts(), [input]);
    }
});
