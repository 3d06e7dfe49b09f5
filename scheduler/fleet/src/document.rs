//! Documents as JSON with the number of their format.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The format this version writes, and the newest it reads.
pub const FORMAT: u32 = 1;

/// The largest document that is read, in bytes.
const BYTES_MAX: usize = 1 << 20;

/// A document that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// It is larger than any may be.
    #[error("the {what} has {bytes} bytes, and {BYTES_MAX} are the most")]
    TooLarge {
        /// What it should be.
        what: &'static str,
        /// Its size.
        bytes: usize,
    },
    /// A newer headland wrote it.
    #[error(
        "the {what} has format {found}, and this headland reads {FORMAT}; bring this machine's headland up to date"
    )]
    UnknownFormat {
        /// What it should be.
        what: &'static str,
        /// Its format.
        found: u32,
    },
    /// It is not what it should be.
    #[error("this is no {what}")]
    Malformed {
        /// What it should be.
        what: &'static str,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
}

/// Something that is stored or sent.
pub trait Document: Serialize + DeserializeOwned {
    /// What it is called in errors.
    const WHAT: &'static str;

    /// As it is stored and sent.
    fn encode(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Numbered<'a, T> {
            format: u32,
            #[serde(flatten)]
            document: &'a T,
        }
        // Of these types nothing fails to serialise: their keys are text, and they hold no foreign serializer.
        serde_json::to_vec(&Numbered { format: FORMAT, document: self }).unwrap_or_default()
    }

    /// Reads what [`Document::encode`] wrote.
    ///
    /// # Errors
    /// [`DocumentError`].
    fn decode(bytes: &[u8]) -> Result<Self, DocumentError> {
        #[derive(serde::Deserialize)]
        struct Header {
            format: u32,
        }
        let what = Self::WHAT;
        if bytes.len() > BYTES_MAX {
            return Err(DocumentError::TooLarge { what, bytes: bytes.len() });
        }
        let malformed = |source| DocumentError::Malformed { what, source };
        let Header { format } = serde_json::from_slice(bytes).map_err(malformed)?;
        if format != FORMAT {
            return Err(DocumentError::UnknownFormat { what, found: format });
        }
        serde_json::from_slice(bytes).map_err(malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Desired, DesiredModel, Heartbeat, Intent, Keep, PopRecord, Source};

    #[test]
    fn what_was_written_is_read_and_a_newer_format_says_what_to_do() {
        let record = PopRecord { pop: "fra2".parse().unwrap(), intent: Intent::Draining };
        let bytes = record.encode();
        assert_eq!(bytes, br#"{"format":1,"pop":"fra2","intent":"draining"}"#);
        assert_eq!(PopRecord::decode(&bytes).unwrap(), record);
        let error = PopRecord::decode(br#"{"format":2,"pop":1}"#).unwrap_err().to_string();
        assert_eq!(
            error,
            "the PoP record has format 2, and this headland reads 1; bring this machine's headland up to date"
        );
    }

    #[test]
    fn what_is_no_document_is_refused() {
        for bytes in [&b""[..], b"{}", b"[]", br#"{"format":1}"#, br#"{"format":1,"pop":"../x","intent":"active"}"#] {
            assert!(matches!(PopRecord::decode(bytes), Err(DocumentError::Malformed { .. })));
        }
        let large = vec![b' '; BYTES_MAX + 1];
        assert!(matches!(Heartbeat::decode(&large), Err(DocumentError::TooLarge { .. })));
    }

    #[test]
    fn a_desired_state_reads_well() {
        let digest = headland_package::Sha256Digest::of(b"m");
        let desired = Desired {
            pop: "fra2".parse().unwrap(),
            era: 5,
            epoch: 7,
            generation: 9,
            models: vec![DesiredModel {
                key: crate::ModelKey { name: "digits".parse().unwrap(), version: "1".parse().unwrap() },
                manifest: digest,
                keep: Keep::Loaded,
                device: None,
                sources: vec![Source {
                    pop: "control".parse().unwrap(),
                    address: "10.0.0.1:8082".to_owned(),
                    control: true,
                }],
            }],
            apps: Vec::new(),
            aliases: Default::default(),
        };
        let text = String::from_utf8(desired.encode()).unwrap();
        let expected = format!(
            r#"{{"format":1,"pop":"fra2","era":5,"epoch":7,"generation":9,"models":[{{"name":"digits","version":"1","manifest":"{digest}","keep":"loaded","sources":[{{"pop":"control","address":"10.0.0.1:8082","control":true}}]}}],"apps":[]}}"#
        );
        assert_eq!(text, expected);
        assert_eq!(Desired::decode(text.as_bytes()).unwrap(), desired);
    }
}
