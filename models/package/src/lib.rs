//! Model packages and app manifests: ids, digests, formats, strict configuration
