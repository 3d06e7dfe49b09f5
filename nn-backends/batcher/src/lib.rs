//! The model table: bounded queues, batching policy and the threads that own loaded models
