//! The trust policy and the signatures of components, through the crate's public interface: files on disk, keys made on
//! the spot, and every way in which something is refused.

mod admission;
mod common;
mod components;
mod documentation;
mod file;
