//! Members over real TLS: who is let in, who is not, and certificates that change meanwhile.

use std::io;
use std::time::Duration;

use rustls::{ClientConnection, ServerConnection};
use tempfile::TempDir;

use super::*;
use crate::{CLOCK_SKEW_MAX, FleetCa, MEMBER_VALIDITY, Peer, explain};

/// A fleet's authority, and a folder for its members.
struct Fleet {
    dir: TempDir,
    ca: FleetCa,
}

impl Fleet {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ca = FleetCa::create(&dir.path().join("ca"), SystemTime::now()).unwrap();
        Fleet { dir, ca }
    }

    fn folder(&self, member: &str) -> PathBuf {
        self.dir.path().join(member)
    }

    fn member(&self, member: &str) -> Identity {
        self.member_at(member, SystemTime::now())
    }

    fn member_at(&self, member: &str, now: SystemTime) -> Identity {
        self.ca.enroll(&self.folder(member), &member.parse().unwrap(), MEMBER_VALIDITY, now).unwrap();
        Identity::load(&self.folder(member)).unwrap()
    }
}

/// What each side makes of the other.
type Met = (Result<(), String>, Result<Peer, String>);

/// A handshake in memory: `client` connects, expects `expected`, and finds `server`.
fn meet(client: &Identity, expected: &str, server: &Identity) -> Met {
    let config = client.client_config(&expected.parse().unwrap()).unwrap();
    shake_hands(config, server.server_config().unwrap())
}

fn shake_hands(client: Arc<rustls::ClientConfig>, server: Arc<rustls::ServerConfig>) -> Met {
    let mut client = ClientConnection::new(client, "fleet.invalid".try_into().unwrap()).unwrap();
    let mut server = ServerConnection::new(server).unwrap();
    let (mut at_client, mut at_server) = (Ok(()), Ok(()));
    while client.wants_write() || server.wants_write() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        at_server = at_server.and(feed(&wire, |wire| {
            server.read_tls(wire)?;
            server.process_new_packets().map(drop).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
        }));
        wire.clear();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        at_client = at_client.and(feed(&wire, |wire| {
            client.read_tls(wire)?;
            client.process_new_packets().map(drop).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
        }));
    }
    if at_client.is_ok() && at_server.is_ok() {
        assert!(!client.is_handshaking() && !server.is_handshaking(), "the handshake stopped");
        assert_eq!((client.alpn_protocol(), server.alpn_protocol()), (Some(&b"h2"[..]), Some(&b"h2"[..])));
        assert_eq!(client.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    }
    (at_client, at_server.map(|()| Peer::of(server.peer_certificates()).unwrap()))
}

fn feed(wire: &[u8], mut take: impl FnMut(&mut &[u8]) -> io::Result<()>) -> Result<(), String> {
    let mut wire = wire;
    while !wire.is_empty() {
        take(&mut wire).map_err(|error| explain(&error))?;
    }
    Ok(())
}

#[test]
fn members_of_one_fleet_know_each_other() {
    let fleet = Fleet::new();
    let (fra, control) = (fleet.member("pop/fra2"), fleet.member("control/c1"));
    for (client, expected, server) in [(&control, "pop/fra2", &fra), (&fra, "control/c1", &control)] {
        let (at_client, at_server) = meet(client, expected, server);
        at_client.unwrap();
        let peer = at_server.unwrap();
        assert_eq!((&peer.member, peer.not_after), (client.member(), client.not_after()));
    }
}

#[test]
fn who_connects_refuses_all_but_the_one_it_means() {
    let fleet = Fleet::new();
    let (fra, ams) = (fleet.member("pop/fra2"), fleet.member("pop/ams1"));
    let control = fleet.member("control/fra2");
    let (at_client, at_server) = meet(&ams, "pop/fra3", &fra);
    assert_eq!(at_client.unwrap_err(), "the peer was refused: it is pop/fra2, and pop/fra3 was to be there");
    assert!(at_server.unwrap_err().starts_with("the peer refused this member"));
    // The same id in another role is another member.
    let (at_client, _) = meet(&ams, "pop/fra2", &control);
    assert_eq!(at_client.unwrap_err(), "the peer was refused: it is control/fra2, and pop/fra2 was to be there");
}

#[test]
fn foreigners_are_refused_by_both_sides() {
    let (ours, theirs) = (Fleet::new(), Fleet::new());
    let (fra, foreigner) = (ours.member("pop/fra2"), theirs.member("pop/ams1"));
    let (at_client, at_server) = meet(&fra, "pop/ams1", &foreigner);
    let refused = "the peer was refused: its certificate is not of this fleet's authority";
    assert_eq!(at_client.unwrap_err(), refused);
    assert!(at_server.unwrap_err().contains("UnknownCA"));

    // One that trusts us, and shows its own certificate.
    let trusting = Identity { roots: fra.roots.clone(), fleet: fra.fleet.clone(), ..foreigner };
    assert_eq!(meet(&trusting, "pop/fra2", &fra).1.unwrap_err(), refused);

    // A member is who its folder's authority says.
    std::fs::write(theirs.folder("pop/ams1").join(CA_CERTIFICATE_FILE), ours.ca.certificate()).unwrap();
    let error = Identity::load(&theirs.folder("pop/ams1")).unwrap_err().to_string();
    assert!(error.contains("cert.pem") && error.contains("UnknownIssuer"), "{error}");
}

/// Shows nothing.
#[derive(Debug)]
struct Nothing;

impl rustls::client::ResolvesClientCert for Nothing {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

#[test]
fn who_shows_no_certificate_is_refused() {
    let fleet = Fleet::new();
    let (fra, ams) = (fleet.member("pop/fra2"), fleet.member("pop/ams1"));
    let mut anonymous = rustls::ClientConfig::clone(&ams.client_config(fra.member()).unwrap());
    anonymous.client_auth_cert_resolver = Arc::new(Nothing);
    let (_, at_server) = shake_hands(Arc::new(anonymous), fra.server_config().unwrap());
    assert!(at_server.unwrap_err().contains("no certificates"));
}

#[test]
fn an_expired_certificate_is_refused_by_both_sides_and_a_clock_may_be_minutes_off() {
    let fleet = Fleet::new();
    let now = SystemTime::now();
    let ams = fleet.member("pop/ams1");
    let expired = fleet.member_at("pop/fra2", now - MEMBER_VALIDITY - Duration::from_secs(60));
    assert!(meet(&ams, "pop/fra2", &expired).0.unwrap_err().contains("certificate expired"));
    assert!(meet(&expired, "pop/ams1", &ams).1.unwrap_err().contains("certificate expired"));
    assert!(expired.renewal_due(now) && expired.not_after() < now);

    // Issued by an authority whose clock goes ahead.
    let early = fleet.member_at("pop/fra3", now + CLOCK_SKEW_MAX - Duration::from_secs(60));
    meet(&ams, "pop/fra3", &early).0.unwrap();
    let too_early = fleet.member_at("pop/fra4", now + CLOCK_SKEW_MAX + Duration::from_secs(60));
    assert!(meet(&ams, "pop/fra4", &too_early).0.unwrap_err().contains("not valid yet"));
}

#[test]
fn a_new_certificate_is_shown_without_a_restart_and_found_after_one() {
    let fleet = Fleet::new();
    let now = SystemTime::now();
    let (fra, ams) = (fleet.member_at("pop/fra2", now - MEMBER_VALIDITY / 2), fleet.member("pop/ams1"));
    let later = now + MEMBER_VALIDITY / 4;
    assert!(!fra.renewal_due(now) && fra.renewal_due(later));
    // The configurations of a running process are older than the certificate.
    let (client, server) = (fra.client_config(ams.member()).unwrap(), ams.server_config().unwrap());
    let renewed = fleet.ca.issue(fra.member(), &fra.csr().unwrap(), MEMBER_VALIDITY, now).unwrap();
    let old = fra.not_after();
    fra.install(&renewed).unwrap();
    assert!(fra.not_after() > old && !fra.renewal_due(later));
    assert_eq!(shake_hands(client, server).1.unwrap().not_after, fra.not_after());
    let again = Identity::load(&fleet.folder("pop/fra2")).unwrap();
    assert_eq!(again.not_after(), fra.not_after());
    meet(&ams, "pop/fra2", &again).0.unwrap();
}

#[test]
fn what_lies_in_the_folder_is_taken_up_when_asked_for() {
    let fleet = Fleet::new();
    let now = SystemTime::now();
    let fra = fleet.member_at("pop/fra2", now - MEMBER_VALIDITY / 2);
    let renewed = fleet.ca.issue(fra.member(), &fra.csr().unwrap(), MEMBER_VALIDITY, now).unwrap();
    let file = fleet.folder("pop/fra2").join(CERTIFICATE_FILE);
    std::fs::write(&file, renewed).unwrap();
    let old = fra.not_after();
    fra.reload().unwrap();
    assert!(fra.not_after() > old);
    std::fs::write(&file, "no certificate").unwrap();
    assert!(fra.reload().is_err() && fra.not_after() > old);
}

#[test]
fn a_certificate_that_is_not_its_own_is_not_installed() {
    let (fleet, other) = (Fleet::new(), Fleet::new());
    let (fra, ams) = (fleet.member("pop/fra2"), fleet.member("pop/ams1"));
    let now = SystemTime::now();
    let file = fleet.folder("pop/fra2").join(CERTIFICATE_FILE);
    let before = std::fs::read(&file).unwrap();
    let csr = fra.csr().unwrap();
    let issue = |ca: &FleetCa, member: &Member, csr: &str| ca.issue(member, csr, MEMBER_VALIDITY, now).unwrap();
    let to_another = issue(&fleet.ca, ams.member(), &csr);
    assert!(matches!(fra.install(&to_another), Err(IdentityError::OtherMember { .. })));
    let for_another_key = issue(&fleet.ca, fra.member(), &ams.csr().unwrap());
    assert!(matches!(fra.install(&for_another_key), Err(IdentityError::BadCertificate(_))));
    let of_another_fleet = issue(&other.ca, fra.member(), &csr);
    assert!(matches!(fra.install(&of_another_fleet), Err(IdentityError::BadCertificate(_))));
    assert!(fra.install("nothing").is_err());
    assert_eq!(std::fs::read(&file).unwrap(), before);
}

#[test]
fn a_member_belongs_to_one_fleet() {
    let (ours, theirs) = (Fleet::new(), Fleet::new());
    ours.member("pop/fra2");
    let both = format!("{}{}", ours.ca.certificate(), theirs.ca.certificate());
    std::fs::write(ours.folder("pop/fra2").join(CA_CERTIFICATE_FILE), both).unwrap();
    let error = Identity::load(&ours.folder("pop/fra2")).unwrap_err().to_string();
    assert!(error.contains("several fleets"), "{error}");
}
