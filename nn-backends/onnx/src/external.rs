//! Handing ONNX Runtime what a graph keeps outside of itself, so that it opens no file.

use std::ffi::CString;

use bytes::Bytes;
use ort::AsPointer;
use ort::session::builder::SessionBuilder;
use ort::value::TensorElementType;

use crate::value::Value;

/// What a graph keeps outside of itself. All bytes must live as long as the session.
pub(crate) enum External<'a> {
    /// Whole files, by the names that the graph has for them.
    Files(Vec<(&'a str, &'a Bytes)>),
    /// Tensors within one file. Unlike those of whole files, their bytes are not copied.
    Tensors(&'a [ExternalTensor], &'a Bytes),
}

/// A tensor in a file.
pub(crate) struct ExternalTensor {
    pub name: String,
    pub ty: TensorElementType,
    pub shape: Vec<usize>,
    /// Where in the file its bytes begin, aligned for its type, and how many there are.
    pub offset: usize,
    pub length: usize,
}

impl External<'_> {
    /// Says so to the session in the making, which is one of the processor's or not. What is returned must live as long
    /// as the session.
    pub fn add_to(&self, builder: &mut SessionBuilder, on_processor: bool) -> ort::Result<Vec<Value>> {
        match self {
            External::Files(files) => {
                files.iter().try_for_each(|(location, bytes)| add_file(builder, location, bytes))?;
                Ok(Vec::new())
            }
            External::Tensors(tensors, file) => {
                tensors.iter().map(|tensor| add_tensor(builder, tensor, file, on_processor)).collect()
            }
        }
    }

    /// The bytes to keep for as long as the session.
    pub fn bytes(&self) -> Vec<Bytes> {
        match self {
            External::Files(files) => files.iter().map(|(_, bytes)| Bytes::clone(bytes)).collect(),
            External::Tensors(_, file) => vec![Bytes::clone(file)],
        }
    }
}

/// Says that the file which the graph calls `location` has these `bytes`: mapped weights are not copied before they are
/// needed, and ort's own way in would copy them first.
fn add_file(builder: &mut SessionBuilder, location: &str, bytes: &[u8]) -> ort::Result<()> {
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

/// Says what `tensor`, whose data the graph calls external, holds, and returns what must live as long as the session.
///
/// The graph's optimisation reads it where it folds constants. Left at that, the session would copy it all the same: only
/// what is said to be shared with other sessions is used where it lies.
fn add_tensor(builder: &mut SessionBuilder, tensor: &ExternalTensor, file: &[u8], share: bool) -> ort::Result<Value> {
    let name = CString::new(&*tensor.name).map_err(|_| ort::Error::new("a tensor's name has a NUL in it"))?;
    let end = tensor.offset.checked_add(tensor.length);
    let bytes = end.and_then(|end| file.get(tensor.offset..end));
    let bytes = bytes.ok_or_else(|| ort::Error::new(format!("tensor `{}` is not within its file", tensor.name)))?;
    let memory = crate::session::processor_memory()?;
    let value = Value::view(&memory, tensor.ty, &tensor.shape, bytes).map_err(ort::Error::wrap)?;
    // SAFETY: all pointers are valid for the call, which takes one name and one value. ONNX Runtime keeps
    // the value's address, and the value points to the bytes; the caller keeps both for as long as the session.
    unsafe {
        let status = (ort::api().AddExternalInitializers)(builder.ptr_mut(), &name.as_ptr(), &value.ptr(), 1);
        ort::Error::result_from_status(status)?;
        if share {
            let status = (ort::api().AddInitializer)(builder.ptr_mut(), name.as_ptr(), value.ptr());
            ort::Error::result_from_status(status)?;
        }
    }
    Ok(value)
}
