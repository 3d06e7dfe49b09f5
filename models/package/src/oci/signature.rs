//! A signature as a referrer: a manifest whose one layer is a sigstore bundle and whose subject is what was signed.

use super::{ARTIFACT_TYPE_SIGNATURE, ArtifactError, Descriptor, EMPTY_CONFIG, Manifest, Packed};

/// The largest bundle that is read. A bundle lists every file of a model, with some hundred bytes each.
pub const SIGNATURE_BYTES_MAX: u64 = 8 << 20;

/// Describes a bundle as the signature of `subject`.
pub fn pack_signature(bundle: &[u8], subject: Descriptor) -> Packed {
    let layer = Descriptor::of(ARTIFACT_TYPE_SIGNATURE, bundle);
    let mut manifest = Manifest::new(ARTIFACT_TYPE_SIGNATURE, Manifest::empty_config(), vec![layer]);
    manifest.subject = Some(subject);
    Packed { manifest: manifest.to_bytes(), config: EMPTY_CONFIG.to_vec() }
}

/// The bundle and the subject of a signature's manifest.
///
/// # Errors
/// [`ArtifactError`] when it is no signature, names no subject, or has other layers than one bundle of acceptable size.
pub fn signature_layer(manifest: &Manifest) -> Result<(&Descriptor, &Descriptor), ArtifactError> {
    const SIGNATURE: &str = "a signature";
    if manifest.artifact_type() != ARTIFACT_TYPE_SIGNATURE {
        let found = manifest.artifact_type().chars().take(128).collect();
        return Err(ArtifactError::Kind { wanted: SIGNATURE, expected: ARTIFACT_TYPE_SIGNATURE, found });
    }
    let subject = manifest.subject.as_ref().ok_or(ArtifactError::NoSubject)?;
    let [bundle] = &manifest.layers[..] else { return Err(ArtifactError::SignatureLayers(manifest.layers.len())) };
    if bundle.media_type != ARTIFACT_TYPE_SIGNATURE {
        return Err(ArtifactError::LayerType {
            digest: bundle.digest,
            found: bundle.media_type.chars().take(128).collect(),
            problem: "a signature's layer is a sigstore bundle, version 0.3",
        });
    }
    if bundle.size > SIGNATURE_BYTES_MAX {
        return Err(ArtifactError::SignatureSize(bundle.size));
    }
    Ok((bundle, subject))
}

#[cfg(test)]
mod tests {
    use super::super::MEDIA_TYPE_MANIFEST;
    use super::*;

    fn signature() -> Manifest {
        let packed = pack_signature(b"{}", Descriptor::of(MEDIA_TYPE_MANIFEST, b"signed"));
        Manifest::parse(&packed.manifest).unwrap()
    }

    #[test]
    fn a_signature_packed_is_read_back_with_its_subject() {
        let manifest = signature();
        let (bundle, subject) = signature_layer(&manifest).unwrap();
        assert_eq!(bundle, &Descriptor::of(ARTIFACT_TYPE_SIGNATURE, b"{}"));
        assert_eq!(subject, &Descriptor::of(MEDIA_TYPE_MANIFEST, b"signed"));
    }

    #[test]
    fn a_manifest_that_is_no_signature_is_refused_each_for_its_reason() {
        let changed = |change: fn(&mut Manifest)| {
            let mut manifest = signature();
            change(&mut manifest);
            signature_layer(&manifest).unwrap_err().to_string()
        };
        for (error, expected) in [
            (changed(|m| m.artifact_type = None), "where a signature has"),
            (changed(|m| m.subject = None), "without `subject`"),
            (changed(|m| m.layers.clear()), "0 layers"),
            (changed(|m| m.layers.extend(m.layers.last().cloned())), "2 layers"),
            (changed(|m| m.layers[0].media_type = "x/y".into()), "is a sigstore bundle"),
            (changed(|m| m.layers[0].size = u64::MAX), "at most 8388608 are accepted"),
        ] {
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }
}
