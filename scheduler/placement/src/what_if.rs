//! Questions to a plan: an input changed as in "what if PoP fra2 were lost?", to be solved again.

use std::str::FromStr;

use crate::ids::{FailureDomain, ModelKey, PopId, RegionId};
use crate::input::{Input, PopState};

/// A change that has not happened.
#[derive(Clone, Debug, PartialEq)]
pub enum WhatIf {
    /// `lose pop fra2`
    LosePop(PopId),
    /// `lose region eu`
    LoseRegion(RegionId),
    /// `lose domain fra-power-1`
    LoseDomain(FailureDomain),
    /// `cordon pop fra2`
    CordonPop(PopId),
    /// `drain pop fra2`
    DrainPop(PopId),
    /// `add pop fra9 like fra2`
    AddPop {
        /// What the new one is called.
        pop: PopId,
        /// The one it resembles in everything but its failure domain.
        like: PopId,
    },
    /// `scale minilm:1 by 3`: its demand everywhere.
    Scale {
        /// The model.
        model: ModelKey,
        /// By how much.
        factor: f64,
    },
}

/// Why a question cannot be asked.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum WhatIfError {
    /// It is none of the known questions.
    #[error(
        "cannot read {0:?}; say `lose pop P`, `lose region R`, `lose domain D`, `cordon pop P`, `drain pop P`, \
         `add pop P like Q` or `scale M by F`"
    )]
    Unreadable(String),
    /// A factor is no usable number.
    #[error("cannot scale by {0:?}; give a number above 0, such as 3 or 0.5")]
    Factor(String),
    /// The input has no such thing.
    #[error("there is no {what} called {name}")]
    Unknown {
        /// What was looked for.
        what: &'static str,
        /// What it was called.
        name: String,
    },
    /// The name of a new PoP is taken.
    #[error("there is a PoP called {0} already")]
    Exists(PopId),
    /// The model has no demand that could be scaled.
    #[error("nobody asks for {0}: there is no demand to scale")]
    NoDemand(ModelKey),
}

impl FromStr for WhatIf {
    type Err = WhatIfError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let words: Vec<&str> = text.split_whitespace().collect();
        match words[..] {
            ["lose", "pop", pop] => Ok(Self::LosePop(pop.into())),
            ["lose", "region", region] => Ok(Self::LoseRegion(region.into())),
            ["lose", "domain", domain] => Ok(Self::LoseDomain(domain.into())),
            ["cordon", "pop", pop] => Ok(Self::CordonPop(pop.into())),
            ["drain", "pop", pop] => Ok(Self::DrainPop(pop.into())),
            ["add", "pop", pop, "like", like] => Ok(Self::AddPop { pop: pop.into(), like: like.into() }),
            ["scale", model, "by", by] => match by.parse::<f64>() {
                Ok(factor) if factor.is_finite() && factor > 0.0 => Ok(Self::Scale { model: model.into(), factor }),
                _ => Err(WhatIfError::Factor(by.to_owned())),
            },
            _ => Err(WhatIfError::Unreadable(text.to_owned())),
        }
    }
}

impl WhatIf {
    /// Reads a question as it is asked on the command line; [`WhatIf`]'s variants show how.
    ///
    /// # Errors
    /// If it is none of the known questions.
    pub fn parse(text: &str) -> Result<Self, WhatIfError> {
        text.parse()
    }

    /// Changes an input as if it had happened.
    ///
    /// # Errors
    /// If the input has not what the question names. It is unchanged then.
    pub fn apply(&self, input: &mut Input) -> Result<(), WhatIfError> {
        match self {
            Self::LosePop(lost) => lose(input, "PoP", lost.as_str(), |pop| &pop.id == lost),
            Self::LoseRegion(lost) => lose(input, "PoP in a region", lost.as_str(), |pop| &pop.region == lost),
            Self::LoseDomain(lost) => {
                lose(input, "PoP in a failure domain", lost.as_str(), |pop| &pop.failure_domain == lost)
            }
            Self::CordonPop(id) => set_state(input, id, PopState::Cordoned),
            Self::DrainPop(id) => set_state(input, id, PopState::Draining),
            Self::AddPop { pop, like } => add(input, pop, like),
            Self::Scale { model, factor } => scale(input, model, *factor),
        }
    }
}

fn unknown(what: &'static str, name: &str) -> WhatIfError {
    WhatIfError::Unknown { what, name: name.to_owned() }
}

fn lose(
    input: &mut Input,
    what: &'static str,
    name: &str,
    lost: impl Fn(&crate::Pop) -> bool,
) -> Result<(), WhatIfError> {
    let before = input.pops.len();
    input.pops.retain(|pop| !lost(pop));
    if input.pops.len() == before { Err(unknown(what, name)) } else { Ok(()) }
}

fn set_state(input: &mut Input, id: &PopId, state: PopState) -> Result<(), WhatIfError> {
    let pop = input.pops.iter_mut().find(|pop| &pop.id == id).ok_or_else(|| unknown("PoP", id.as_str()))?;
    pop.state = state;
    Ok(())
}

fn add(input: &mut Input, id: &PopId, like: &PopId) -> Result<(), WhatIfError> {
    if input.pops.iter().any(|pop| &pop.id == id) {
        return Err(WhatIfError::Exists(id.clone()));
    }
    let like = input.pops.iter().find(|pop| &pop.id == like).ok_or_else(|| unknown("PoP", like.as_str()))?;
    let mut pop = like.clone();
    pop.id = id.clone();
    pop.state = PopState::Active;
    pop.failure_domain = id.as_str().into();
    input.pops.push(pop);
    Ok(())
}

fn scale(input: &mut Input, model: &ModelKey, factor: f64) -> Result<(), WhatIfError> {
    if !input.models.iter().any(|spec| &spec.key == model) {
        return Err(unknown("model", model.as_str()));
    }
    let demand = input.demand.iter_mut().find(|demand| &demand.model == model && !demand.rates.is_empty());
    let demand = demand.ok_or_else(|| WhatIfError::NoDemand(model.clone()))?;
    demand.rates.iter_mut().for_each(|rate| rate.requests_per_s *= factor);
    Ok(())
}

#[cfg(test)]
mod tests;
