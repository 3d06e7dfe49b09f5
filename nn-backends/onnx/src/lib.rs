//! ONNX graphs on ONNX Runtime, loaded at run time
