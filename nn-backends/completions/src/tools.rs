//! `tools` and `tool_choice`: what a model may call, and whether it has to.

use std::sync::Arc;

use headland_chat::{CallConvention, Calls, Tool};
use minijinja::Value as TemplateValue;
use serde::Deserialize;
use serde_json::Value;

use crate::format::is_name;
use crate::options::{BadRequest, Options};

/// Tools of a request; OpenAI's limit.
const TOOLS_MAX: usize = 128;

/// What may be called, of a request that lets anything be called.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    tools: Arc<[Tool]>,
    has_to: bool,
    several: bool,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Definition {
    Function { function: Function },
}

#[derive(Deserialize)]
struct Function {
    name: String,
    parameters: Option<Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Choice {
    Word(Word),
    Function(Named),
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    None,
    Auto,
    Required,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Named {
    Function { function: Name },
}

#[derive(Deserialize)]
struct Name {
    name: String,
}

impl Tools {
    /// Takes them out of the body's parameters: what may be called, and what the template is told of it. Where nothing may be
    /// called, the model is not told of what could.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn take(options: &mut Options) -> Result<Option<(Self, TemplateValue)>, BadRequest> {
        let bad = |message: String| BadRequest::of("tools", message);
        let several = options.take("parallel_tool_calls")?.unwrap_or(true);
        let written: Vec<Value> = options.take("tools")?.unwrap_or_default();
        let choice = options.take::<Choice>("tool_choice").map_err(|_| {
            let message = "`tool_choice` is `none`, `auto`, `required`, or a function by its name: \
                {\"type\": \"function\", \"function\": {\"name\": …}}";
            BadRequest::of("tool_choice", message)
        })?;
        if written.len() > TOOLS_MAX {
            return Err(bad(format!("`tools` has {}; {TOOLS_MAX} at most", written.len())));
        }
        let mut tools = Vec::with_capacity(written.len());
        for (index, tool) in written.iter().enumerate() {
            let read = Definition::deserialize(tool).map_err(|error| bad(format!("tool {index}: {error}")))?;
            let Definition::Function { function: Function { name, parameters } } = read;
            if !is_name(&name) {
                return Err(bad(format!("tool {index}: a function's name is 1 to 64 letters, digits, `_` and `-`")));
            }
            if tools.iter().any(|other: &Tool| other.name == name) {
                return Err(bad(format!("tool {index}: there is another function called `{name}`")));
            }
            tools.push(Tool { name, parameters });
        }
        let has_to = match choice {
            Some(Choice::Word(Word::None)) => return Ok(None),
            None | Some(Choice::Word(Word::Auto)) if tools.is_empty() => return Ok(None),
            None | Some(Choice::Word(Word::Auto)) => false,
            Some(Choice::Word(Word::Required)) => true,
            Some(Choice::Function(Named::Function { function: Name { name } })) => {
                tools.retain(|tool| tool.name == name);
                if tools.is_empty() {
                    let message = format!("`tool_choice` names `{name}`, which is not one of `tools`");
                    return Err(BadRequest::of("tool_choice", message));
                }
                true
            }
        };
        if tools.is_empty() {
            return Err(BadRequest::of("tool_choice", "`tool_choice` is `required`, and there are no `tools`"));
        }
        let told = TemplateValue::deserialize(Value::Array(written)).map_err(|error| bad(error.to_string()))?;
        Ok(Some((Tools { tools: tools.into(), has_to, several }, told)))
    }

    /// What may be called by a model that writes its calls so.
    pub fn calls(&self, convention: CallConvention) -> Calls {
        Calls { convention, tools: self.tools.clone(), several: self.several }
    }

    /// Whether answers have to call.
    pub fn has_to(&self) -> bool {
        self.has_to
    }
}
