//! A session that several threads run at once.
//!
//! ONNX Runtime lets any number of threads run one session, and where a session has one thread of its own each run stays
//! on its caller's. So the executors of a model share one session: weights, rearranged copies of them and scratch memory
//! are there once, and throughput is that of as many sessions. `ort` asks for exclusive access to run; below, its
//! interface is left for the C one, which also spares it the work of naming inputs and outputs anew in each run.

use std::ffi::{CString, c_char};
use std::ptr;

use bytes::Bytes;
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::Session;
use ort::value::Outlet;
use ort::{AsPointer, sys};

use crate::value::Value;

/// A loaded graph.
pub(crate) struct SharedSession {
    session: Session,
    input_names: Vec<CString>,
    output_names: Vec<CString>,
    /// Where the inputs of a run are.
    memory: MemoryInfo<'static>,
    /// Weights beside the graph, and tensors over them. The session points there, so they go after it.
    _weights: (Vec<Value>, Vec<Bytes>),
}

impl SharedSession {
    /// Takes a session over, and what it points into.
    pub fn new(session: Session, weights: (Vec<Value>, Vec<Bytes>)) -> ort::Result<Self> {
        let names = |outlets: &[Outlet]| {
            outlets.iter().map(|outlet| CString::new(outlet.name()).map_err(ort::Error::wrap)).collect::<Result<_, _>>()
        };
        let memory = processor_memory()?;
        let (input_names, output_names) = (names(session.inputs())?, names(session.outputs())?);
        Ok(SharedSession { session, input_names, output_names, memory, _weights: weights })
    }

    /// The session itself, for what it says of its graph.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The memory that views of inputs are in.
    pub fn memory(&self) -> &MemoryInfo<'static> {
        &self.memory
    }

    /// Runs the graph: each input with its position in the graph's list, and the positions of the outputs to compute, each
    /// once.
    ///
    /// # Panics
    /// When a position is not there.
    pub fn run(&self, inputs: &[(usize, *const sys::OrtValue)], outputs: &[usize]) -> ort::Result<Vec<Value>> {
        let input_names: Vec<*const c_char> =
            inputs.iter().map(|(position, _)| self.input_names[*position].as_ptr()).collect();
        let values: Vec<*const sys::OrtValue> = inputs.iter().map(|(_, value)| *value).collect();
        let output_names: Vec<*const c_char> =
            outputs.iter().map(|&position| self.output_names[position].as_ptr()).collect();
        let mut results = vec![ptr::null_mut(); outputs.len()];
        // SAFETY: all pointers are valid for the call, as long as the lengths beside them say; absent run options mean the
        // default ones. ONNX Runtime documents that one session may be run by several threads at once.
        let status = unsafe {
            let status = (ort::api().Run)(
                self.session.ptr().cast_mut(),
                ptr::null(),
                input_names.as_ptr(),
                values.as_ptr(),
                values.len(),
                output_names.as_ptr(),
                output_names.len(),
                results.as_mut_ptr(),
            );
            ort::Error::result_from_status(status)
        };
        // SAFETY: what is not null is a value made for us, which nobody else owns. After a failure some may be there.
        let results = results.into_iter().map(|result| unsafe { Value::own(result) }).collect::<Option<Vec<_>>>();
        status?;
        results.ok_or_else(|| ort::Error::new("a run left an output out"))
    }
}

/// The description of the processor's own memory.
pub(crate) fn processor_memory() -> ort::Result<MemoryInfo<'static>> {
    MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Device, MemoryType::default())
}
