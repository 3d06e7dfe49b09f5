//! Which version of `wasi:http` a component answers, read from its bytes before it is compiled: the two are compiled by
//! engines of their own.

use wasmparser::{Parser, Payload};

/// Why a component that is of neither world is refused.
pub(crate) const NEITHER: &str = "it exports neither `wasi:http/incoming-handler` 0.2 nor `wasi:http/handler` 0.3, so it \
                                  cannot answer requests; build it for the world `wasi:http/proxy` or `wasi:http/service`";

/// What answers requests in a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum World {
    /// `wasi:http/incoming-handler@0.2`.
    Proxy,
    /// `wasi:http/handler@0.3`, which also counts in a component that has both.
    Service,
}

impl World {
    /// The world of a component. None for one of neither, and for what is no component: compiling says what that is.
    pub fn of(wasm: &[u8]) -> Option<World> {
        let mut found = None;
        // Components and modules that are open inside of this one: their exports are their own.
        let mut inside = 0_usize;
        for payload in Parser::new(0).parse_all(wasm) {
            match payload.ok()? {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => inside = inside.saturating_add(1),
                Payload::End(_) => inside = inside.saturating_sub(1),
                Payload::ComponentExportSection(exports) if inside == 0 => {
                    for export in exports {
                        match World::named(export.ok()?.name.name) {
                            Some(World::Service) => return Some(World::Service),
                            Some(World::Proxy) => found = Some(World::Proxy),
                            None => {}
                        }
                    }
                }
                _ => {}
            }
        }
        found
    }

    fn named(export: &str) -> Option<World> {
        if export.starts_with("wasi:http/incoming-handler@0.2.") {
            Some(World::Proxy)
        } else if export.starts_with("wasi:http/handler@0.3.") {
            Some(World::Service)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &[u8] = b"\0asm\x0d\0\x01\0";

    fn section(id: u8, content: &[u8]) -> Vec<u8> {
        [&[id, u8::try_from(content.len()).unwrap()], content].concat()
    }

    /// An export section: instances under these names.
    fn exports(names: &[&str]) -> Vec<u8> {
        let mut content = vec![u8::try_from(names.len()).unwrap()];
        for name in names {
            content.extend([0, u8::try_from(name.len()).unwrap()]);
            content.extend(name.as_bytes());
            content.extend([5, 0, 0]);
        }
        section(11, &content)
    }

    fn component(names: &[&str]) -> Vec<u8> {
        [HEADER, &exports(names)].concat()
    }

    #[test]
    fn the_export_says_the_world_and_the_newer_one_wins() {
        let (proxy, service) = ("wasi:http/incoming-handler@0.2.6", "wasi:http/handler@0.3.2");
        for (names, expected) in [
            (&[proxy][..], Some(World::Proxy)),
            (&["wasi:cli/run@0.2.0", service], Some(World::Service)),
            (&[proxy, service], Some(World::Service)),
            (&[service, proxy], Some(World::Service)),
            (&["wasi:http/handler@0.4.0", "wasi:http/incoming-handler@0.3.0"], None),
            (&[], None),
        ] {
            assert_eq!(World::of(&component(names)), expected, "{names:?}");
        }
    }

    #[test]
    fn what_a_component_inside_exports_does_not_count() {
        let inner = component(&["wasi:http/handler@0.3.0"]);
        let outer = [HEADER, &section(4, &inner), &exports(&["wasi:http/incoming-handler@0.2.0"])].concat();
        assert_eq!(World::of(&outer), Some(World::Proxy));
        assert_eq!(World::of(&[HEADER, &section(4, &inner)].concat()), None);
    }

    #[test]
    fn what_is_no_component_has_no_world() {
        let whole = component(&["wasi:http/handler@0.3.0"]);
        for bytes in [&b"hello"[..], b"", &whole[..whole.len() - 3], b"\0asm\x01\0\0\0"] {
            assert_eq!(World::of(bytes), None);
        }
    }
}
