//! A tensor: the host's resource behind a typed face.

use crate::bindings::wasi::nn::tensor::Tensor as Resource;
pub use crate::bindings::wasi::nn::tensor::TensorType;
use crate::{Element, Error};

/// A row-major tensor. Its data lives in the host.
pub struct Tensor(Resource);

impl Tensor {
    /// A tensor of `values` in that shape. A count that does not fit the shape is found by `compute`.
    pub fn of<E: Element>(shape: &[u32], values: &[E]) -> Self {
        Tensor::from_bytes(E::TYPE, shape, &E::to_bytes(values))
    }

    /// A tensor from its little-endian bytes.
    pub fn from_bytes(ty: TensorType, shape: &[u32], bytes: &[u8]) -> Self {
        Tensor(Resource::new(shape, ty, bytes))
    }

    /// Size of each dimension.
    pub fn shape(&self) -> Vec<u32> {
        self.0.dimensions()
    }

    /// Type of its elements.
    pub fn ty(&self) -> TensorType {
        self.0.ty()
    }

    /// Its little-endian bytes, copied out of the host.
    pub fn bytes(&self) -> Vec<u8> {
        self.0.data()
    }

    /// Its values; `name` is for the message.
    ///
    /// # Errors
    /// `invalid-argument` when it is not of type `E`.
    pub fn values<E: Element>(&self, name: &str) -> Result<Vec<E>, Error> {
        let ty = self.ty();
        if ty != E::TYPE {
            return Err(Error::unexpected(format!("tensor `{name}` is {ty:?}, not {:?}", E::TYPE)));
        }
        Ok(E::from_bytes(&self.bytes()))
    }

    /// Gives up the resource, for use with [`crate::bindings`].
    pub fn into_resource(self) -> Resource {
        self.0
    }
}

impl From<Resource> for Tensor {
    fn from(resource: Resource) -> Self {
        Tensor(resource)
    }
}
