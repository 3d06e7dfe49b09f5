//! Making, finding and losing tokens, by one process and by two.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::scope::Scope;

const NOW: UnixTime = UnixTime(2_000_000_000);

fn store() -> (tempfile::TempDir, TokenStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = TokenStore::open(dir.path()).unwrap();
    (dir, store)
}

/// As if it were a second later.
fn look_again(store: &TokenStore) {
    store.0.looked.lock().unwrap().at -= LOOK_EVERY;
    store.notice_changes();
}

#[test]
fn a_token_is_made_found_listed_and_revoked() {
    let (dir, store) = store();
    assert!(store.list().is_empty());
    let scopes = Scopes::new([Scope::Push, Scope::Deploy]).unwrap();
    let created = store.create("ci", scopes.clone(), Some(UnixTime(NOW.0 * 2))).unwrap();
    let other = store.create("ci", Scope::Read.into(), None).unwrap();
    let grant = store.check(&created.secret, NOW).unwrap();
    assert_eq!((grant.token(), &grant.token().scopes), (&created.info, &scopes));
    assert!(grant.allows(Scope::Deploy) && !grant.allows(Scope::Admin));
    assert_eq!(store.list(), [created.info.clone(), other.info.clone()]);
    // Another process sees the same.
    let reopened = TokenStore::open(dir.path()).unwrap();
    assert_eq!(reopened.list(), store.list());
    assert!(reopened.check(&other.secret, NOW).is_ok());

    assert_eq!(store.revoke(&created.info.id).unwrap(), created.info);
    assert_eq!(store.check(&created.secret, NOW).unwrap_err(), Rejected::Unknown);
    assert!(store.check(&other.secret, NOW).is_ok());
    let error = store.revoke(&created.info.id).unwrap_err().to_string();
    assert!(error.contains(&created.info.id) && error.contains("headland token list"), "{error}");
}

#[test]
fn a_token_ends_when_it_says() {
    let (_dir, store) = store();
    let created = store.create("short", Scope::Read.into(), Some(NOW)).unwrap();
    assert!(store.check(&created.secret, UnixTime(NOW.0 - 1)).is_ok());
    let rejected = store.check(&created.secret, NOW).unwrap_err();
    assert_eq!(rejected, Rejected::Expired { name: "short".into() });
    let error = store.create("late", Scope::Read.into(), Some(UnixTime::now())).unwrap_err();
    assert!(matches!(error, AccessError::ExpiresInThePast));
    assert_eq!(store.list().len(), 1);
}

#[test]
fn nothing_at_rest_or_in_debug_shows_a_secret() {
    let (dir, store) = store();
    let created = store.create("ci", Scope::Read.into(), None).unwrap();
    let grant = store.check(&created.secret, NOW).unwrap();
    let path = dir.path().join(TOKENS_FILE);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let mut shown = fs::read_to_string(&path).unwrap();
    shown += &format!("{store:?} {created:?} {grant:?} {:?}", store.list());
    shown += &serde_json::to_string(&store.list()).unwrap();
    assert!(!shown.contains(created.secret.reveal()) && !shown.contains(&created.secret.reveal()[3..20]));
    assert!(shown.contains(&created.info.ends_with));
}

#[test]
fn what_makes_no_sense_makes_no_token() {
    let (dir, store) = store();
    assert!(matches!(store.create("", Scope::Read.into(), None), Err(AccessError::Name { .. })));
    assert!(matches!(store.create("local", Scope::Read.into(), None), Err(AccessError::ReservedName("local"))));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn tokens_of_another_process_count_within_a_second_and_its_revocations_too() {
    let (dir, gateway) = store();
    let command = TokenStore::open(dir.path()).unwrap();
    let created = command.create("ci", Scope::Read.into(), None).unwrap();
    assert!(gateway.check(&created.secret, NOW).is_err(), "it looked less than a second ago");
    look_again(&gateway);
    assert!(gateway.check(&created.secret, NOW).is_ok());
    // A change builds on what is in the file, not on what was last read.
    let second = command.create("second", Scope::Read.into(), None).unwrap();
    let third = gateway.create("third", Scope::Read.into(), None).unwrap();
    assert_eq!(gateway.list().len(), 3);
    look_again(&command);
    assert!(command.check(&third.secret, NOW).is_ok());
    command.revoke(&second.info.id).unwrap();
    look_again(&gateway);
    assert!(gateway.check(&second.secret, NOW).is_err());
    fs::remove_file(dir.path().join(TOKENS_FILE)).unwrap();
    look_again(&gateway);
    assert!(gateway.check(&created.secret, NOW).is_err());
}

#[test]
fn threads_that_make_tokens_at_once_lose_none() {
    let (dir, store) = store();
    let made: Vec<Created> = std::thread::scope(|scope| {
        let makers: Vec<_> = (0..4)
            .map(|number| {
                // Two stores, as two processes would have.
                let store = if number % 2 == 0 { store.clone() } else { TokenStore::open(dir.path()).unwrap() };
                scope.spawn(move || {
                    (0..5)
                        .map(|_| store.create(&format!("maker {number}"), Scope::Read.into(), None).unwrap())
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        makers.into_iter().flat_map(|maker| maker.join().unwrap()).collect()
    });
    let store = TokenStore::open(dir.path()).unwrap();
    assert_eq!((made.len(), store.list().len()), (20, 20));
    assert!(made.iter().all(|created| store.check(&created.secret, NOW).is_ok()));
}

#[test]
fn a_file_that_breaks_while_running_leaves_the_tokens_as_they_were() {
    let (dir, store) = store();
    let created = store.create("ci", Scope::Read.into(), None).unwrap();
    let path = dir.path().join(TOKENS_FILE);
    let sound = fs::read(&path).unwrap();
    fs::write(&path, "{").unwrap();
    look_again(&store);
    assert!(store.check(&created.secret, NOW).is_ok());
    // Nothing is written over it either.
    assert!(matches!(store.create("next", Scope::Read.into(), None), Err(AccessError::Broken { .. })));
    assert!(matches!(store.revoke(&created.info.id), Err(AccessError::Broken { .. })));
    assert!(matches!(store.ensure_local(), Err(AccessError::Broken { .. })));
    assert_eq!(fs::read(&path).unwrap(), b"{");
    fs::write(&path, sound).unwrap();
    look_again(&store);
    store.create("next", Scope::Read.into(), None).unwrap();
    assert_eq!(store.list().len(), 2);
}

#[test]
fn a_broken_or_exposed_file_stops_the_start_and_is_named() {
    let (dir, store) = store();
    store.create("ci", Scope::Read.into(), None).unwrap();
    let path = dir.path().join(TOKENS_FILE);
    for mode in [0o620, 0o602] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let error = TokenStore::open(dir.path()).unwrap_err().to_string();
        let named = error.starts_with(&path.display().to_string());
        assert!(named && error.contains(&format!("mode {mode:o}")) && error.contains("chmod 600"), "{error}");
    }
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    fs::write(&path, "{\"version\": 1, \"tokens\": [], \"extra\": 1}").unwrap();
    let error = TokenStore::open(dir.path()).unwrap_err().to_string();
    assert!(error.starts_with(&path.display().to_string()), "{error}");
    assert!(error.contains("unknown field `extra`") && error.contains("line 1 column"), "{error}");
    fs::write(&path, vec![b' '; (1 << 20) + 1]).unwrap();
    let error = TokenStore::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("larger than 1 MiB"), "{error}");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(matches!(TokenStore::open(dir.path()), Err(AccessError::Io { action: "read", .. })));
}

#[test]
fn there_is_room_for_a_thousand() {
    let (dir, store) = store();
    let mut edit = store.edit().unwrap();
    for number in 0..CREATED_MAX - 1 {
        edit.add(&format!("token {number}"), Scope::Read.into(), NOW, None).unwrap();
    }
    edit.save().unwrap();
    drop(edit);
    let last = store.create("last", Scope::Read.into(), None).unwrap();
    let error = store.create("one more", Scope::Read.into(), None).unwrap_err().to_string();
    assert!(error.starts_with("there are 1000 tokens, the most there may be"), "{error}");
    assert!(TokenStore::open(dir.path()).unwrap().check(&last.secret, NOW).is_ok());
}
