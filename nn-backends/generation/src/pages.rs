//! Which pages of the key-value cache belong to whom: counting only, the numbers themselves are the model's.
//!
//! A page holds the keys and values of [`Pages::page_tokens`] tokens in all layers (Kwon et al., "Efficient Memory Management
//! for Large Language Model Serving with PagedAttention", 2023). What a full page holds follows from its tokens and all
//! before them, so that a hash over both names it: whoever comes with the same beginning takes the same pages. Pages that
//! nobody uses any more stay until their memory is needed, the longest unused first.

use std::collections::{BTreeMap, HashMap};

/// A page's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageId(pub u32);

/// Names what a full page holds: its tokens, after those of all pages before it, in one domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PageHash([u8; 32]);

impl PageHash {
    /// Where the chains of `domain` begin. Domains share nothing: how long an answer takes would tell one app what another
    /// has asked.
    pub fn root(domain: &str) -> Self {
        PageHash(blake3::derive_key("headland generation pages 1", domain.as_bytes()))
    }

    /// The page of these tokens after the one that this names.
    pub fn then(&self, tokens: &[u32]) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        for token in tokens {
            hasher.update(&token.to_le_bytes());
        }
        PageHash(hasher.finalize().into())
    }
}

/// The pages of one model.
#[derive(Debug)]
pub struct Pages {
    page_tokens: usize,
    pages: Vec<Page>,
    /// Pages that hold nothing anybody could want.
    free: Vec<PageId>,
    by_hash: HashMap<PageHash, PageId>,
    /// Pages that nobody uses and that have a name, by when they were given back.
    idle: BTreeMap<u64, PageId>,
    clock: u64,
}

#[derive(Clone, Debug, Default)]
struct Page {
    users: u32,
    hash: Option<PageHash>,
    /// Its key among the idle ones.
    idle_since: Option<u64>,
}

impl Pages {
    /// `count` empty pages for `page_tokens` tokens each.
    ///
    /// # Panics
    /// For pages of no tokens.
    pub fn new(count: u32, page_tokens: usize) -> Self {
        assert!(page_tokens > 0, "pages of no tokens");
        Pages {
            page_tokens,
            pages: vec![Page::default(); count as usize],
            free: (0..count).rev().map(PageId).collect(),
            by_hash: HashMap::new(),
            idle: BTreeMap::new(),
            clock: 0,
        }
    }

    /// Tokens of one page.
    pub fn page_tokens(&self) -> usize {
        self.page_tokens
    }

    /// All pages there are.
    pub fn count(&self) -> usize {
        self.pages.len()
    }

    /// Pages that [`Self::allocate`] could give.
    pub fn available(&self) -> usize {
        self.free.len() + self.idle.len()
    }

    /// Names of the full pages of `tokens` whose keys and values somebody with the same tokens need not compute: all but the
    /// last token's, for its outcome is what the answer begins with.
    pub fn shareable(&self, root: PageHash, tokens: &[u32]) -> Vec<PageHash> {
        let whole = tokens.len().saturating_sub(1) / self.page_tokens;
        let pages = tokens.chunks_exact(self.page_tokens).take(whole);
        pages
            .scan(root, |hash, page| {
                *hash = hash.then(page);
                Some(*hash)
            })
            .collect()
    }

    /// How many pages of the chain are there, and how many of these nobody uses: taking them makes these unavailable.
    pub fn cached(&self, chain: &[PageHash]) -> Cached {
        let there = chain.iter().map_while(|hash| self.by_hash.get(hash));
        there.fold(Cached::default(), |cached, page| Cached {
            pages: cached.pages + 1,
            idle: cached.idle + usize::from(self.page(*page).users == 0),
        })
    }

    /// Takes the first pages of the chain, as many as are there.
    pub fn take_cached(&mut self, chain: &[PageHash]) -> Vec<PageId> {
        let there: Vec<PageId> = chain.iter().map_while(|hash| self.by_hash.get(hash).copied()).collect();
        for &page in &there {
            self.take(page);
        }
        there
    }

    /// Takes `count` empty pages, or none when there are fewer.
    pub fn allocate(&mut self, count: usize) -> Option<Vec<PageId>> {
        if self.available() < count {
            return None;
        }
        let mut taken = Vec::with_capacity(count);
        while taken.len() < count {
            let page = self.free.pop().or_else(|| self.evict())?;
            self.page_mut(page).users = 1;
            taken.push(page);
        }
        Some(taken)
    }

    /// How many of `pages`, one sequence's, nobody else uses.
    pub fn alone(&self, pages: &[PageId]) -> usize {
        pages.iter().filter(|page| self.page(**page).users == 1).count()
    }

    /// Names a page that its one writer has filled. Who filled another page with the same meanwhile keeps it to himself.
    pub fn name(&mut self, page: PageId, hash: PageHash) {
        if self.page(page).hash.is_none() && !self.by_hash.contains_key(&hash) {
            self.by_hash.insert(hash, page);
            self.page_mut(page).hash = Some(hash);
        }
    }

    /// Gives pages back, in their order in a sequence: of these, the last ones are forgotten first.
    ///
    /// # Panics
    /// When nobody has one of them.
    pub fn give_back(&mut self, pages: &[PageId]) {
        for &page in pages.iter().rev() {
            let entry = self.page_mut(page);
            assert!(entry.users > 0, "page {} is given back by nobody", page.0);
            entry.users -= 1;
            if entry.users > 0 {
                continue;
            }
            if self.page(page).hash.is_none() {
                self.free.push(page);
                continue;
            }
            self.clock += 1;
            let now = self.clock;
            self.page_mut(page).idle_since = Some(now);
            self.idle.insert(now, page);
        }
    }

    fn take(&mut self, page: PageId) {
        let entry = self.page_mut(page);
        entry.users += 1;
        if let Some(since) = entry.idle_since.take() {
            self.idle.remove(&since);
        }
    }

    /// Forgets what the page holds that was unused for longest.
    fn evict(&mut self) -> Option<PageId> {
        let (_, page) = self.idle.pop_first()?;
        let entry = self.page_mut(page);
        entry.idle_since = None;
        if let Some(hash) = entry.hash.take() {
            self.by_hash.remove(&hash);
        }
        Some(page)
    }

    fn page(&self, page: PageId) -> &Page {
        &self.pages[page.0 as usize]
    }

    fn page_mut(&mut self, page: PageId) -> &mut Page {
        &mut self.pages[page.0 as usize]
    }
}

/// What of a chain is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cached {
    /// Pages from its beginning.
    pub pages: usize,
    /// How many of these nobody uses.
    pub idle: usize,
}

#[cfg(test)]
mod tests;
