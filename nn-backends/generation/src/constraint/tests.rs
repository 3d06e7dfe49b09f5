//! Sets of tokens, and a small grammar that the engine's tests hold answers to.

use proptest::prelude::*;

use super::*;

/// Tokens whose sum is held to `sum`: each may be what is left at most, and zero never.
#[derive(Clone, Debug)]
pub(crate) struct SumsTo {
    pub sum: u32,
    /// Free until this token comes, for ever where it never does.
    pub after: Option<u32>,
    /// Where it fails, or panics.
    pub fails_at: Option<u32>,
    pub panics: bool,
}

impl SumsTo {
    pub fn new(sum: u32) -> Self {
        SumsTo { sum, after: None, fails_at: None, panics: false }
    }
}

impl Grammar for SumsTo {
    fn begin(&self) -> Box<dyn Constraint> {
        Box::new(self.clone())
    }
}

impl Constraint for SumsTo {
    fn standing(&mut self) -> Result<Standing, BrokenConstraint> {
        assert!(!self.panics, "a constraint panics");
        Ok(match self.sum {
            _ if self.after.is_some() => Standing::Free,
            0 => Standing::Complete,
            1..=3 => Standing::MayEnd,
            _ => Standing::Unfinished,
        })
    }

    fn allow(&mut self, allowed: &mut TokenSet) -> Result<(), BrokenConstraint> {
        (1..=self.sum).for_each(|token| allowed.insert(token));
        Ok(())
    }

    fn take(&mut self, token: u32) -> Result<(), BrokenConstraint> {
        if self.fails_at == Some(token) {
            return Err(BrokenConstraint::Failed(format!("token {token}")));
        }
        match self.after {
            Some(begins) if begins == token => self.after = None,
            Some(_) => {}
            None => self.sum = self.sum.checked_sub(token).ok_or(BrokenConstraint::TooDear("too much".to_owned()))?,
        }
        Ok(())
    }
}

#[test]
fn an_end_is_allowed_only_where_the_form_may_end() {
    let mut held = Held::begin(&SumsTo::new(9));
    let ends = [5, 60];
    let set = |held: &mut Held, ignores_end| {
        let allowed = held.allowed(&ends, ignores_end).unwrap().unwrap();
        (0..64).filter(|token| allowed.contains(*token)).collect::<Vec<u32>>()
    };
    assert_eq!(set(&mut held, false), [1, 2, 3, 4, 6, 7, 8, 9], "the end 5 would be a number");
    assert_eq!(held.take(7), Ok(false));
    assert_eq!(set(&mut held, false), [1, 2, 5, 60]);
    assert_eq!(set(&mut held, true), [1, 2]);
    assert_eq!(held.take(2), Ok(true));
    assert_eq!(set(&mut held, false), ends);
    assert!(held.take(1).is_err());
    let free = SumsTo { after: Some(9), ..SumsTo::new(2) };
    assert_eq!(Held::begin(&free).allowed(&ends, false), Ok(None));
}

#[test]
fn a_constraint_that_panics_fails() {
    let mut held = Held::begin(&SumsTo { panics: true, ..SumsTo::new(9) });
    assert!(held.allowed(&[], false).unwrap_err().to_string().contains("panicked"));
}

proptest! {
    #[test]
    fn a_set_holds_what_was_put_in(
        tokens in prop::collection::btree_set(0u32..300, 0..200), out in prop::collection::vec(0u32..400, 0..20),
        mask in prop::collection::vec(any::<u32>(), 0..9), vocabulary in 0usize..310
    ) {
        let mut set = TokenSet::default();
        let mut expected = tokens.clone();
        tokens.iter().for_each(|token| set.insert(*token));
        set.insert_mask(&mask);
        expected.extend((0..mask.len() as u32 * 32).filter(|token| mask[*token as usize / 32] >> (token % 32) & 1 == 1));
        for token in out {
            set.remove(token);
            expected.remove(&token);
        }
        let mut logits = vec![1.0f32; vocabulary];
        set.mask(&mut logits);
        for (token, logit) in (0..).zip(logits) {
            prop_assert_eq!(set.contains(token), expected.contains(&token));
            prop_assert_eq!(logit == 1.0, expected.contains(&token));
        }
        set.clear();
        prop_assert!((0..400).all(|token| !set.contains(token)));
    }
}
