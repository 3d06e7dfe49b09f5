//! [`ModelFiles`]: what a backend loads a model from. Bytes, not paths: what was verified is what is loaded, and no
//! backend can reach a file that is not the model's.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::NnError;

/// The files of one model by their paths inside it, `/`-separated, in memory or mapped. Cheap to clone.
#[derive(Clone)]
pub struct ModelFiles {
    label: Arc<str>,
    graph: Option<Arc<str>>,
    files: Arc<BTreeMap<String, Bytes>>,
}

impl ModelFiles {
    /// Files that errors call `label/path`: a folder's path, or a model's name.
    pub fn new(label: impl Into<Arc<str>>, files: impl IntoIterator<Item = (String, Bytes)>) -> Self {
        ModelFiles { label: label.into(), graph: None, files: Arc::new(files.into_iter().collect()) }
    }

    /// Says which file is the graph, where the format leaves that open (ONNX).
    pub fn with_graph(self, path: impl Into<Arc<str>>) -> Self {
        ModelFiles { graph: Some(path.into()), ..self }
    }

    /// The graph file's path, if one was named.
    pub fn graph(&self) -> Option<&str> {
        self.graph.as_deref()
    }

    /// What errors call the whole.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// How errors name the file `path`.
    pub fn describe(&self, path: &str) -> String {
        format!("{}/{path}", self.label)
    }

    /// The file `path`, if it is there.
    pub fn get(&self, path: &str) -> Option<&Bytes> {
        self.files.get(path)
    }

    /// The file `path`.
    ///
    /// # Errors
    /// [`NnError::BadModel`] when it is not there.
    pub fn require(&self, path: &str) -> Result<&Bytes, NnError> {
        self.get(path).ok_or_else(|| NnError::bad_model(format!("{}: there is no such file", self.describe(path))))
    }

    /// Every file with its path, in path order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Bytes)> {
        self.files.iter().map(|(path, bytes)| (path.as_str(), bytes))
    }
}

/// Names and sizes; the bytes of a model are no reading.
impl fmt::Debug for ModelFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.label)?;
        f.debug_map().entries(self.iter().map(|(path, bytes)| (path, bytes.len()))).finish()
    }
}
