//! Who signed a model or component, and whether that counts here.
