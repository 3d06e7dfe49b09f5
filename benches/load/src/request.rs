//! Requests as bytes.

use std::io::Write;

/// Appends a request with this body.
pub fn request(out: &mut Vec<u8>, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) {
    // Writing into memory does not fail.
    let _ = write!(out, "{method} {path} HTTP/1.1\r\nhost: bench\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        let _ = write!(out, "{name}: {value}\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
}

/// A request to `/v2/models/{model}/infer` with one binary tensor in (name, datatype, shape, data) and one out.
pub fn binary_infer(model: &str, (name, datatype, shape, data): (&str, &str, &str, &[u8]), output: &str) -> Vec<u8> {
    let mut body = format!(
        r#"{{"inputs":[{{"name":"{name}","datatype":"{datatype}","shape":{shape},"parameters":{{"binary_data_size":{}}}}}],"outputs":[{{"name":"{output}","parameters":{{"binary_data":true}}}}]}}"#,
        data.len()
    )
    .into_bytes();
    let length = body.len().to_string();
    body.extend_from_slice(data);
    let mut out = Vec::with_capacity(body.len() + 256);
    let path = format!("/v2/models/{model}/infer");
    request(&mut out, "POST", &path, &[("inference-header-content-length", &length)], &body);
    out
}
