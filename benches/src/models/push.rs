//! `headland model push` of what is there already: the whole command, from its start to its end.

use std::process::Command;

use anyhow::Result;

use super::gateway::Gateway;
use super::scratch::{Scratch, settle, timed};
use super::{MILLISECONDS, cold};
use crate::Setup;
use headland_report::Section;

pub fn measure(setup: &Setup, scratch: &Scratch) -> Result<Section> {
    let gateway = Gateway::start(setup, scratch, cold::DATA)?;
    let (large, signature) = (scratch.model(), scratch.signature());
    let (minilm, minilm_signature) = scratch.minilm(setup);
    let push_large = || timed(&mut gateway.push(setup, scratch, "bench", &large, &signature));
    let push_minilm = || timed(&mut gateway.push(setup, scratch, cold::MODEL, &minilm, &minilm_signature));
    let mut section = Section::new("headland model push, the whole command", MILLISECONDS);
    settle(&large)?;
    let first = push_large()?;
    push_minilm()?;
    for _ in 0..setup.rounds {
        section.add("headland --version", timed(Command::new(&setup.binary).arg("--version"))?);
        section.add(&format!("second push, {}, nothing to send", scratch.size), push_large()?);
        section.add("second push, MiniLM, nothing to send", push_minilm()?);
    }
    section.add(&format!("first push, {}, once", scratch.size), first);
    Ok(section)
}
