//! `wasi:nn` for Rust guests: a model by name, typed tensors in, typed tensors out.
//!
//! Stands between a guest's code and the generated bindings of `wasi:nn@0.2.0-rc-2024-10-28`, so it works on every
//! host that offers that interface. What it leaves out is in [`bindings`].
//!
//! ```no_run
//! use headland_guest_nn::{Model, Tensor};
//!
//! # fn main() -> Result<(), headland_guest_nn::Error> {
//! let model = Model::by_name("digits")?;
//! let image = Tensor::of(&[1, 8, 8], &[0.0f32; 64]);
//! let logits = model.compute([("image", image)])?.take::<f32>("logits")?;
//! # Ok(())
//! # }
//! ```

mod element;
mod error;
mod pieces;
mod tensor;

pub use element::Element;
pub use error::{Error, ErrorCode};
pub use pieces::{End, Piece, Pieces};
pub use tensor::{Tensor, TensorType};

/// The generated bindings, for what the wrappers leave out.
#[expect(missing_docs, reason = "generated from the WIT")]
pub mod bindings {
    wit_bindgen::generate!({ world: "ml", path: "../../wit", generate_all });
}

use bindings::wasi::nn::graph;
use bindings::wasi::nn::inference::GraphExecutionContext;

/// A model of the host, ready to compute.
pub struct Model {
    context: GraphExecutionContext,
}

impl Model {
    /// The host's model of that name: `name`, `name:version` or `name@sha256:...` on Headland.
    ///
    /// # Errors
    /// `security` when the app may not use the model, `not-found` when the host does not have it.
    pub fn by_name(name: &str) -> Result<Self, Error> {
        let graph = graph::load_by_name(name)?;
        Ok(Model { context: graph.init_execution_context()? })
    }

    /// Runs the model once on its named inputs. The guest waits; the host runs others meanwhile.
    ///
    /// # Errors
    /// `invalid-argument` for inputs that do not fit the model's signature, `too-large`, `timeout`, or
    /// `runtime-error` when the backend failed or is too busy.
    pub fn compute<'a>(&self, inputs: impl IntoIterator<Item = (&'a str, Tensor)>) -> Result<Outputs, Error> {
        let inputs = inputs.into_iter().map(|(name, tensor)| (name.to_owned(), tensor.into_resource())).collect();
        let outputs = self.context.compute(inputs)?;
        Ok(Outputs(outputs.into_iter().map(|(name, tensor)| (name, Tensor::from(tensor))).collect()))
    }
}

/// What a model answered, by name. Data is copied into the guest only for the outputs that are taken.
pub struct Outputs(Vec<(String, Tensor)>);

impl Outputs {
    /// The output of that name.
    ///
    /// # Errors
    /// `invalid-argument` when the model has no such output, or it is not of type `E`.
    pub fn take<E: Element>(&mut self, name: &str) -> Result<Vec<E>, Error> {
        self.tensor(name)?.values(name)
    }

    /// The output of that name, as a tensor.
    ///
    /// # Errors
    /// `invalid-argument` when the model has no such output, naming those it has.
    pub fn tensor(&mut self, name: &str) -> Result<Tensor, Error> {
        let Some(at) = self.0.iter().position(|(have, _)| have == name) else {
            let have: Vec<_> = self.0.iter().map(|(name, _)| name.as_str()).collect();
            return Err(Error::unexpected(format!("the model has no output `{name}`; it has {}", have.join(", "))));
        };
        Ok(self.0.swap_remove(at).1)
    }

    /// All outputs in the model's order.
    pub fn into_tensors(self) -> Vec<(String, Tensor)> {
        self.0
    }
}
