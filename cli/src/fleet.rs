//! A gateway in a fleet: a PoP, or a control plane. Each is a gateway like any other, and besides a member that listens to
//! other members and to the fleet's NATS servers. `headland up` is a fleet by itself ([`alone`]).

pub mod alone;
mod certificates;
mod control;
mod files;
mod member;
mod pop;

use std::time::SystemTime;

use anyhow::Result;
use headland_identity::{FleetCa, MEMBER_VALIDITY, Member};

use crate::args::{ControlArgs, ControlCommand, PopArgs};
use crate::client;

/// `headland control`.
pub fn control(args: ControlArgs) -> Result<()> {
    match (args.command, args.run) {
        (Some(ControlCommand::Init { dir, name }), _) => init(&dir, name),
        (Some(ControlCommand::Issue { name, control, authority, out }), _) => {
            let member = if control { Member::control(name) } else { Member::pop(name) };
            issue(&FleetCa::open(&authority)?, &member, &out)
        }
        (None, options) => control::run(options),
    }
}

/// `headland pop`.
pub fn pop(args: PopArgs) -> Result<()> {
    match (args.command, args.run) {
        (Some(command), _) => client::fleet::pop(command),
        (None, options) => pop::run(options),
    }
}

fn init(dir: &std::path::Path, name: headland_package::PopId) -> Result<()> {
    let authority = FleetCa::create(dir, SystemTime::now())?;
    println!(
        "made fleet {}; {} and its key stay in {}",
        authority.fleet(),
        headland_identity::CA_CERTIFICATE_FILE,
        dir.display()
    );
    let member = Member::control(name);
    let out = dir.join(member.id.as_str());
    issue(&authority, &member, &out)
}

fn issue(authority: &FleetCa, member: &Member, out: &std::path::Path) -> Result<()> {
    authority.enroll(out, member, MEMBER_VALIDITY, SystemTime::now())?;
    let days = MEMBER_VALIDITY.as_secs() / 86_400;
    println!(
        "made the identity of {member} in {}; it holds {days} days, and is renewed by itself while it runs",
        out.display()
    );
    Ok(())
}
