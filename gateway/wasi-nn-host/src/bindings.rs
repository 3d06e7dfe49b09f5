//! The host functions of the four `wasi:nn` interfaces, one per function of the WIT.

use bytes::Bytes;
use headland_batcher::{Call, Model, Pieces};
use headland_nn_core::{MAX_RANK, NamedTensor, NnError};
use headland_package::ModelRef;
use wasmtime::component::{ComponentType, Lift, Linker, Resource, ResourceType};
use wasmtime::{Result, StoreContextMut, format_err};

use crate::convert::{ErrorCode, TensorType, to_guest_tensor, to_tensor};
use crate::resources::{ExecutionContext, Graph, GuestError, GuestTensor};
use crate::{WasiNnCtxView, WasiNnView, llm};

/// `wasi:nn/graph.graph-encoding`.
#[derive(Clone, Copy, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "only ever made from what a guest passes")]
enum GraphEncoding {
    #[component(name = "openvino")]
    Openvino,
    #[component(name = "onnx")]
    Onnx,
    #[component(name = "tensorflow")]
    Tensorflow,
    #[component(name = "pytorch")]
    Pytorch,
    #[component(name = "tensorflowlite")]
    Tensorflowlite,
    #[component(name = "ggml")]
    Ggml,
    #[component(name = "autodetect")]
    Autodetect,
}

/// `wasi:nn/graph.execution-target`.
#[derive(Clone, Copy, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "only ever made from what a guest passes")]
enum ExecutionTarget {
    #[component(name = "cpu")]
    Cpu,
    #[component(name = "gpu")]
    Gpu,
    #[component(name = "tpu")]
    Tpu,
}

type Fallible<T> = Result<T, Resource<GuestError>>;
type NamedResource = (String, Resource<GuestTensor>);

/// Adds the four interfaces of `wasi:nn@0.2.0-rc-2024-10-28`, and `fermyon:spin/llm@2.0.0`.
///
/// # Errors
/// When the linker has one of them already.
pub fn add_to_linker<T: WasiNnView + 'static>(linker: &mut Linker<T>) -> Result<()> {
    add_tensor(linker)?;
    add_errors(linker)?;
    add_inference(linker)?;
    add_graph(linker)?;
    llm::add_to_linker(linker)
}

fn add_tensor<T: WasiNnView + 'static>(linker: &mut Linker<T>) -> Result<()> {
    type Params = (Vec<u32>, TensorType, Bytes);
    let mut tensor = linker.instance("wasi:nn/tensor@0.2.0-rc-2024-10-28")?;
    tensor.resource("tensor", ResourceType::host::<GuestTensor>(), |mut store, rep| {
        let mut nn = store.data_mut().nn();
        nn.take_tensor(Resource::new_own(rep)).map(drop)
    })?;
    tensor.func_wrap("[constructor]tensor", |mut store: StoreContextMut<'_, T>, (dimensions, ty, data): Params| {
        if dimensions.len() > MAX_RANK {
            return Err(format_err!("a tensor of {} dimensions; at most {MAX_RANK} are supported", dimensions.len()));
        }
        Ok((store.data_mut().nn().push_tensor(GuestTensor { dimensions, ty, data })?,))
    })?;
    tensor.func_wrap("[method]tensor.dimensions", |mut store, (this,): (Resource<GuestTensor>,)| {
        Ok((store.data_mut().nn().table.get(&this)?.dimensions.clone(),))
    })?;
    tensor.func_wrap("[method]tensor.ty", |mut store, (this,): (Resource<GuestTensor>,)| {
        Ok((store.data_mut().nn().table.get(&this)?.ty,))
    })?;
    tensor.func_wrap("[method]tensor.data", |mut store, (this,): (Resource<GuestTensor>,)| {
        Ok((store.data_mut().nn().table.get(&this)?.data.clone(),))
    })
}

fn add_errors<T: WasiNnView + 'static>(linker: &mut Linker<T>) -> Result<()> {
    let mut errors = linker.instance("wasi:nn/errors@0.2.0-rc-2024-10-28")?;
    errors.resource("error", ResourceType::host::<GuestError>(), |mut store, rep| {
        store.data_mut().nn().table.delete(Resource::<GuestError>::new_own(rep))?;
        Ok(())
    })?;
    errors.func_wrap("[method]error.code", |mut store, (this,): (Resource<GuestError>,)| {
        Ok((store.data_mut().nn().table.get(&this)?.code,))
    })?;
    errors.func_wrap("[method]error.data", |mut store, (this,): (Resource<GuestError>,)| {
        Ok((store.data_mut().nn().table.get(&this)?.data.clone(),))
    })
}

fn add_inference<T: WasiNnView + 'static>(linker: &mut Linker<T>) -> Result<()> {
    type Params = (Resource<ExecutionContext>, Vec<NamedResource>);
    let mut inference = linker.instance("wasi:nn/inference@0.2.0-rc-2024-10-28")?;
    inference.resource("graph-execution-context", ResourceType::host::<ExecutionContext>(), |mut store, rep| {
        store.data_mut().nn().table.delete(Resource::<ExecutionContext>::new_own(rep))?;
        Ok(())
    })?;
    inference.func_wrap_async(
        "[method]graph-execution-context.compute",
        |mut store: StoreContextMut<'_, T>, (this, inputs): Params| {
            Box::new(async move {
                let mut nn = store.data_mut().nn();
                let result = nn.compute(&this, inputs).await?;
                Ok((nn.lower(result)?,))
            })
        },
    )
}

fn add_graph<T: WasiNnView + 'static>(linker: &mut Linker<T>) -> Result<()> {
    type LoadParams = (Vec<Bytes>, GraphEncoding, ExecutionTarget);
    let mut graph = linker.instance("wasi:nn/graph@0.2.0-rc-2024-10-28")?;
    graph.resource("graph", ResourceType::host::<Graph>(), |mut store, rep| {
        store.data_mut().nn().table.delete(Resource::<Graph>::new_own(rep))?;
        Ok(())
    })?;
    graph.func_wrap("[method]graph.init-execution-context", |mut store, (this,): (Resource<Graph>,)| {
        let nn = store.data_mut().nn();
        let model = nn.table.get(&this)?.model.clone();
        let context: Fallible<_> = Ok(nn.table.push(ExecutionContext { model, pieces: None })?);
        Ok((context,))
    })?;
    graph.func_wrap("load", |mut store: StoreContextMut<'_, T>, _: LoadParams| {
        let mut nn = store.data_mut().nn();
        let refused: Result<Resource<Graph>, GuestError> = Err(GuestError {
            code: ErrorCode::Security,
            data: "graphs are not loaded from a guest's bytes: upload the model to the gateway and use load-by-name"
                .into(),
        });
        Ok((nn.lower(refused)?,))
    })?;
    // Asynchronous, for a model that is not loaded may be while the guest waits.
    graph.func_wrap_async("load-by-name", |mut store: StoreContextMut<'_, T>, (name,): (String,)| {
        Box::new(async move {
            let mut nn = store.data_mut().nn();
            let models = nn.ctx.models.clone();
            let found = match nn.granted(&name) {
                Ok(asked) => models.find(&asked).await.map_err(GuestError::from),
                Err(denied) => Err(denied),
            };
            let graph = match found {
                Ok(model) => Ok(nn.table.push(Graph { model })?),
                Err(error) => Err(error),
            };
            Ok((nn.lower(graph)?,))
        })
    })
}

impl WasiNnCtxView<'_> {
    /// The model called `name`, if the app may use it.
    pub(crate) fn granted(&self, name: &str) -> Result<ModelRef, GuestError> {
        let asked: ModelRef = name
            .parse()
            .map_err(|error| GuestError { code: ErrorCode::InvalidArgument, data: format!("load-by-name: {error}") })?;
        let grants = &self.ctx.grants;
        if !grants.allows(&asked) {
            return Err(GuestError {
                code: ErrorCode::Security,
                data: format!(
                    "app `{}` may not use model `{asked}`; add \"{asked}\" to `allow` under [models] in its \
                     headland.app.toml",
                    grants.app
                ),
            });
        }
        Ok(asked)
    }

    async fn compute(
        &mut self,
        context: &Resource<ExecutionContext>,
        inputs: Vec<NamedResource>,
    ) -> Result<Result<Vec<NamedResource>, GuestError>> {
        let ExecutionContext { model, pieces } = self.table.get_mut(context)?;
        // An answer that is asked for anew is not told to its end.
        let (model, pieces) = (model.clone(), pieces.take());
        // The call owns its tensors: they leave the table whatever comes of it.
        let mut tensors = Vec::with_capacity(inputs.len());
        for (name, tensor) in inputs {
            tensors.push((name, self.take_tensor(tensor)?));
        }
        let ran = match (pieces, tensors.is_empty()) {
            (Some(pieces), true) => go_on(pieces).await,
            _ => run(&model, tensors, self.call()).await,
        };
        let (outputs, pieces) = match ran {
            Ok(ran) => ran,
            Err(RunError::Tensor(error)) => return Ok(Err(error)),
            Err(RunError::Model(error)) => return Ok(Err(self.told(&model, error))),
        };
        self.table.get_mut(context)?.pieces = pieces;
        let bytes: usize = outputs.iter().map(|(_, tensor)| tensor.data.len()).sum();
        if !self.fits(bytes) {
            return Ok(Err(GuestError {
                code: ErrorCode::TooLarge,
                data: format!(
                    "the outputs take {bytes} bytes; with the instance's other tensors that is over {}",
                    self.ctx.tensor_bytes_max
                ),
            }));
        }
        let mut named = Vec::with_capacity(outputs.len());
        for (name, tensor) in outputs {
            named.push((name, self.push_tensor(tensor)?));
        }
        Ok(Ok(named))
    }

    /// What the guest is told of a failure: everything about its own request, nothing about the host's insides. Those go
    /// to the log.
    pub(crate) fn told(&self, model: &Model, error: NnError) -> GuestError {
        let inside = match &error {
            NnError::Runtime(cause) | NnError::BadModel(cause) | NnError::DeviceUnavailable(cause) => Some(cause),
            NnError::Unreachable { why, .. } | NnError::BrokenOff { why, .. } => Some(why),
            _ => None,
        };
        if let Some(cause) = inside {
            tracing::error!(
                target: "guest",
                app = %self.ctx.grants.app,
                request_id = &*self.ctx.request_id,
                model = %model.info().name,
                cause = &**cause,
                "the model failed"
            );
        }
        error.into()
    }

    fn fits(&self, more: usize) -> bool {
        self.ctx.tensor_bytes.saturating_add(more) <= self.ctx.tensor_bytes_max
    }

    /// Registers a tensor against the instance's budget. The WIT lets a constructor not fail, so exceeding it traps.
    fn push_tensor(&mut self, tensor: GuestTensor) -> Result<Resource<GuestTensor>> {
        let bytes = tensor.data.len();
        if !self.fits(bytes) {
            return Err(format_err!("the guest holds more than {} bytes of tensors", self.ctx.tensor_bytes_max));
        }
        let resource = self.table.push(tensor)?;
        self.ctx.tensor_bytes += bytes;
        Ok(resource)
    }

    fn take_tensor(&mut self, resource: Resource<GuestTensor>) -> Result<GuestTensor> {
        let tensor = self.table.delete(resource)?;
        self.ctx.tensor_bytes = self.ctx.tensor_bytes.saturating_sub(tensor.data.len());
        Ok(tensor)
    }

    /// Puts an error into the table, where the guest finds it.
    fn lower<R>(&mut self, result: Result<R, GuestError>) -> Result<Fallible<R>> {
        Ok(match result {
            Ok(value) => Ok(value),
            Err(error) => Err(self.table.push(error)?),
        })
    }
}

/// Why a call gave no outputs.
enum RunError {
    /// The tensors cannot cross between guest and host.
    Tensor(GuestError),
    /// The model did not answer.
    Model(NnError),
}

/// Outputs for the guest, and what tells the rest of an answer that comes piece by piece.
type Ran = (Vec<(String, GuestTensor)>, Option<Box<Pieces>>);

async fn run(model: &Model, tensors: Vec<(String, GuestTensor)>, call: Call) -> Result<Ran, RunError> {
    let mut inputs = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let expected = model.signature().inputs.iter().find(|spec| spec.name == name).map(|spec| spec.dtype);
        let tensor = to_tensor(&name, tensor, expected).map_err(RunError::Tensor)?;
        inputs.push(NamedTensor::new(name, tensor));
    }
    let call = Call { inputs: inputs.into(), ..call };
    if let Some(pieces) = model.stream(&call).await.map_err(RunError::Model)? {
        return go_on(Box::new(pieces)).await;
    }
    let outputs = model.infer(call).await.map_err(RunError::Model)?.outputs;
    Ok((to_guest(outputs)?, None))
}

/// The next piece of an answer.
async fn go_on(mut pieces: Box<Pieces>) -> Result<Ran, RunError> {
    let ended = || RunError::Model(NnError::invalid("the answer has ended; `finish_reason` said so"));
    let outputs = pieces.next().await.map_err(RunError::Model)?.ok_or_else(ended)?;
    Ok((to_guest(outputs)?, Some(pieces)))
}

fn to_guest(outputs: Vec<NamedTensor>) -> Result<Vec<(String, GuestTensor)>, RunError> {
    let outputs = outputs.into_iter().map(|output| Ok((output.name.to_string(), to_guest_tensor(output)?)));
    outputs.collect::<Result<_, _>>().map_err(RunError::Tensor)
}
