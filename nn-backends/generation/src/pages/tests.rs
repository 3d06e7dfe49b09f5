//! Pages under any order of requests: none is lost, none belongs to two writers, what is shared is the same.

use proptest::prelude::*;

use super::*;

const PAGE: usize = 4;

/// Each page is free, idle or used, and used by as many as hold it.
fn check(pages: &Pages, held: &[Vec<PageId>]) {
    let mut users = vec![0; pages.count()];
    held.iter().flatten().for_each(|page| users[page.0 as usize] += 1);
    for (index, (entry, users)) in pages.pages.iter().zip(users).enumerate() {
        let page = PageId(u32::try_from(index).unwrap());
        assert_eq!(entry.users, users, "users of page {index}");
        let places = usize::from(pages.free.contains(&page))
            + usize::from(pages.idle.values().any(|idle| *idle == page))
            + usize::from(users > 0);
        assert_eq!(places, 1, "page {index} is in {places} places");
        if let Some(hash) = entry.hash {
            assert_eq!(pages.by_hash.get(&hash), Some(&page));
        }
    }
    assert!(pages.by_hash.values().all(|page| pages.page(*page).hash.is_some()));
}

/// A sequence as the engine would run it: shares what it can, allocates the rest, names what it fills.
fn run(pages: &mut Pages, root: PageHash, tokens: &[u32]) -> Option<(Vec<PageId>, usize)> {
    let chain = pages.shareable(root, tokens);
    let cached = pages.cached(&chain);
    let needed = tokens.len().div_ceil(PAGE) - cached.pages;
    if pages.available() - cached.idle < needed {
        return None;
    }
    let mut held = pages.take_cached(&chain);
    assert_eq!(held.len(), cached.pages);
    held.extend(pages.allocate(needed).expect("as many as are available"));
    for (page, hash) in held.iter().zip(&chain) {
        pages.name(*page, *hash);
    }
    Some((held, cached.pages))
}

#[test]
fn the_same_beginning_is_the_same_pages() {
    let (mut pages, root) = (Pages::new(16, PAGE), PageHash::root("app"));
    let (first, shared) = run(&mut pages, root, &[1, 2, 3, 4, 5, 6, 7, 8, 9]).unwrap();
    assert_eq!(shared, 0);
    let (second, shared) = run(&mut pages, root, &[1, 2, 3, 4, 5, 6, 7, 8, 10, 11]).unwrap();
    assert_eq!((shared, &second[..2]), (2, &first[..2]));
    assert_ne!(second[2], first[2]);
    // Another beginning, another app: nothing in common.
    assert_eq!(run(&mut pages, root, &[0, 2, 3, 4, 5, 6, 7, 8, 9]).unwrap().1, 0);
    assert_eq!(run(&mut pages, PageHash::root("other"), &[1, 2, 3, 4, 5]).unwrap().1, 0);
}

#[test]
fn the_last_token_is_always_computed() {
    let (mut pages, root) = (Pages::new(16, PAGE), PageHash::root(""));
    let tokens = [1, 2, 3, 4, 5, 6, 7, 8];
    run(&mut pages, root, &tokens).unwrap();
    assert_eq!(run(&mut pages, root, &tokens).unwrap().1, 1);
}

#[test]
fn what_was_unused_longest_goes_first_and_the_end_before_the_beginning() {
    let (mut pages, root) = (Pages::new(4, PAGE), PageHash::root(""));
    let tokens: Vec<u32> = (0..13).collect();
    let (held, _) = run(&mut pages, root, &tokens).unwrap();
    pages.give_back(&held);
    assert_eq!(pages.available(), 4);
    let taken = pages.allocate(2).unwrap();
    assert_eq!(pages.cached(&pages.shareable(root, &tokens)), Cached { pages: 2, idle: 2 });
    pages.give_back(&taken);
    check(&pages, &[]);
}

proptest! {
    #[test]
    fn pages_are_never_lost_nor_given_twice(
        requests in prop::collection::vec((prop::collection::vec(0u32..2, 1..40), any::<bool>(), 0usize..8), 1..120)
    ) {
        let (mut pages, root) = (Pages::new(24, PAGE), PageHash::root("app"));
        let mut held: Vec<Vec<PageId>> = Vec::new();
        for (tokens, ends, which) in requests {
            if let Some((sequence, shared)) = run(&mut pages, root, &tokens) {
                // Whoever writes a page has it alone.
                for page in &sequence[shared..] {
                    prop_assert!(held.iter().flatten().all(|other| other != page));
                }
                held.push(sequence);
            }
            if ends && !held.is_empty() {
                let sequence = held.swap_remove(which % held.len());
                pages.give_back(&sequence);
            }
            check(&pages, &held);
        }
        for sequence in held.drain(..) {
            pages.give_back(&sequence);
        }
        prop_assert_eq!(pages.available(), pages.count());
    }
}
