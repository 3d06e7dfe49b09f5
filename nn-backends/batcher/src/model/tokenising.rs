//! Texts into tokens, on the caller's task while they are short. Long ones take threads, of which nobody gets them all.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use headland_nn_core::{NnError, Tensor};
use headland_text::{Encoded, TextEncoder};
use tokio::sync::Semaphore;

use crate::flows::Caller;

/// Text longer than this is tokenised on a blocking thread, so that it delays nobody else's request.
pub const INLINE_TEXT_BYTES_MAX: usize = 16 << 10;

/// Such texts tokenised at one time, over all models; further ones wait within their deadlines.
pub const LONG_TEXTS_AT_ONCE_MAX: usize = 4;

/// Of these at most so many are one caller's: the others' long texts wait only for each other.
pub const LONG_TEXTS_PER_CALLER_MAX: usize = 2;

pub(super) static LONG_TEXTS: Semaphore = Semaphore::const_new(LONG_TEXTS_AT_ONCE_MAX);

/// The callers with long texts, by name, as long as there are some.
static CALLERS: LazyLock<Mutex<HashMap<Arc<str>, Weak<Semaphore>>>> = LazyLock::new(Mutex::default);

pub(super) async fn encode(encoder: &Arc<TextEncoder>, text: Tensor, caller: &Caller) -> Result<Encoded, NnError> {
    if text.data().len() <= INLINE_TEXT_BYTES_MAX {
        return encoder.from_text_tensor(&text);
    }
    let encoder = encoder.clone();
    on_a_thread(caller, move || encoder.from_text_tensor(&text)).await?
}

/// Does what takes long with a text of `caller`'s, when it is its turn.
pub(super) async fn on_a_thread<T: Send + 'static>(
    caller: &Caller,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, NnError> {
    let of_caller = places_of(caller).acquire_owned().await.map_err(NnError::runtime)?;
    let of_all = LONG_TEXTS.acquire().await.map_err(NnError::runtime)?;
    let work = move || {
        // Given back when the work is done, even if nobody waits for it any more.
        let _places = (of_caller, of_all);
        work()
    };
    tokio::task::spawn_blocking(work).await.map_err(NnError::runtime)
}

fn places_of(caller: &Caller) -> Arc<Semaphore> {
    let mut callers = CALLERS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(places) = callers.get(&caller.name).and_then(Weak::upgrade) {
        return places;
    }
    callers.retain(|_, places| places.strong_count() > 0);
    let places = Arc::new(Semaphore::new(LONG_TEXTS_PER_CALLER_MAX));
    callers.insert(caller.name.clone(), Arc::downgrade(&places));
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_caller_has_places_of_its_own_and_all_who_wait_for_them_share_them() {
        let caller = |name: &str| Caller { name: name.into(), weight: 1 };
        let flood = places_of(&caller("flood"));
        let taken = flood.clone().try_acquire_many_owned(LONG_TEXTS_PER_CALLER_MAX as u32).unwrap();
        assert!(places_of(&caller("flood")).try_acquire().is_err());
        assert!(places_of(&caller("other")).try_acquire().is_ok());
        drop((flood, taken));
        assert!(places_of(&caller("flood")).try_acquire().is_ok());
    }
}
