//! What every store has to do, written once.

pub mod buses;
pub mod elections;
pub mod leases;
pub mod records;
pub mod watches;
