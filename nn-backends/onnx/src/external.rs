//! Handing ONNX Runtime the files that hold a graph's weights, so that it opens none itself.

use std::ffi::CString;

use ort::AsPointer;
use ort::session::builder::SessionBuilder;

/// Says that the file which the graph calls `location` has these `bytes`, which must live as long as the session: mapped
/// weights are not copied before they are needed, and ort's own way in would copy them first.
pub(crate) fn add(builder: &mut SessionBuilder, location: &str, bytes: &[u8]) -> ort::Result<()> {
    let location = CString::new(location).map_err(|_| ort::Error::new("a weights file's name has a NUL in it"))?;
    // SAFETY: all pointers are valid for the call, which takes one name, one buffer and one length. ONNX Runtime keeps the
    // buffer's address and only reads there; the caller keeps the bytes for as long as the session.
    unsafe {
        let status = (ort::api().AddExternalInitializersFromMemory)(
            builder.ptr_mut(),
            &location.as_ptr(),
            &bytes.as_ptr().cast_mut().cast(),
            &bytes.len(),
            1,
        );
        ort::Error::result_from_status(status)
    }
}
