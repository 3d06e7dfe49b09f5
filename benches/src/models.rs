//! A model's way from a push to its first answer, against `sha256sum` and `cp` of the same file.
//!
//! Every variant reads from the page cache: what is compared is our work, not the luck of the disk. What is written has to
//! reach the disk before the clock stops, ours and the copy alike.

mod cold;
mod gateway;
mod push;
mod scratch;
mod upload;
mod verify;

use anyhow::Result;

use self::scratch::Scratch;
use crate::Setup;
use headland_report::Report;

const MILLISECONDS: &str = "milliseconds, less is better";

pub fn measure(setup: &Setup, report: &mut Report) -> Result<()> {
    let scratch = Scratch::make(setup)?;
    report.push(upload::measure(setup, &scratch)?);
    report.push(verify::measure(setup, &scratch)?);
    report.push(push::measure(setup, &scratch)?);
    report.push(cold::measure(setup, &scratch)?);
    Ok(())
}
