//! A manifest as it is pushed: read as each of the types it may be announced with, then asked what it holds.

#![no_main]

use headland_package::oci::{
    Document, MEDIA_TYPE_DOCKER_LIST, MEDIA_TYPE_DOCKER_MANIFEST, MEDIA_TYPE_INDEX, MEDIA_TYPE_MANIFEST, Manifest,
    PackedFile, app_files, check_path, model_files, signature_layer,
};
use libfuzzer_sys::fuzz_target;

const MEDIA_TYPES: [&str; 4] =
    [MEDIA_TYPE_MANIFEST, MEDIA_TYPE_INDEX, MEDIA_TYPE_DOCKER_MANIFEST, MEDIA_TYPE_DOCKER_LIST];

fuzz_target!(|input: &[u8]| {
    let read = MEDIA_TYPES.map(|media_type| Document::parse(media_type, input));
    let mut kinds = (false, false);
    for document in read.into_iter().flatten() {
        _ = (document.subject(), document.kind(), document.artifact_type(), document.annotations());
        match document {
            Document::Manifest(manifest) => {
                kinds.0 = true;
                ask(&manifest);
            }
            Document::Index(_) => kinds.1 = true,
        }
    }
    assert_ne!(kinds, (true, true), "a manifest to one reader is no index to another");
});

fn ask(manifest: &Manifest) {
    if let Ok(again) = Manifest::parse(&manifest.to_bytes()) {
        assert_eq!(&again, manifest, "what is written is what was read");
    }
    if let Ok(files) = model_files(manifest) {
        assert_eq!(files.len(), manifest.layers.len());
        check(&files);
    }
    if let Ok(app) = app_files(manifest) {
        check(&app.components);
    }
    if let Ok((bundle, _)) = signature_layer(manifest) {
        assert_eq!(bundle, &manifest.layers[0]);
    }
}

fn check(files: &[PackedFile]) {
    for file in files {
        assert_eq!(check_path(&file.path), Ok(()));
    }
}
