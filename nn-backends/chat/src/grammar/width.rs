//! In how many ways an answer may go on at one place of a schema.
//!
//! Each optional property that may come next is a way, and so is each alternative of a union. What a token costs grows with
//! their square, and beyond the limits of a token an answer would end in its middle: so what has too many is refused before
//! anything is computed.

use std::collections::HashSet;

use serde_json::Value;

use super::BadForm;

/// Ways at one place: as many take some 8,000 parser items of one token.
pub const WAYS_MAX: usize = 200;

/// References that are followed from one place.
const HOPS_MAX: usize = 16;
/// Schemas that are looked at for their unions, each as often as it is referred to. What is left is for the limits of a token.
const LOOKS_MAX: usize = 200_000;
/// Keywords whose alternatives are all there at once.
const UNIONS: [&str; 2] = ["anyOf", "oneOf"];
/// The keyword whose schemas hold all at once: of each alternative of one with each of the others.
const PRODUCT: &str = "allOf";
/// Keywords that hold values, not schemas.
const VALUES: [&str; 4] = ["const", "enum", "default", "examples"];

/// Holds every place of `root` against the limit.
pub(super) fn check(root: &Value) -> Result<(), BadForm> {
    let (mut left, mut looks) = (vec![root], LOOKS_MAX);
    while let Some(schema) = left.pop() {
        let ways = optional_run(schema).max(alternatives(schema, root, 0, &mut looks).unwrap_or(0));
        if ways > WAYS_MAX {
            return Err(BadForm::TooWide { of: None, ways });
        }
        match schema {
            Value::Object(fields) => {
                left.extend(fields.iter().filter(|(key, _)| !VALUES.contains(&key.as_str())).map(|(_, inner)| inner));
            }
            Value::Array(items) => left.extend(items),
            _ => {}
        }
    }
    Ok(())
}

/// The most optional properties one after the other: where one may come, so may all that follow it.
fn optional_run(schema: &Value) -> usize {
    let Some(properties) = schema["properties"].as_object() else { return 0 };
    let required: HashSet<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let (mut run, mut longest) = (0, 0);
    for name in properties.keys() {
        run = if required.contains(name.as_str()) { 0 } else { run + 1 };
        longest = longest.max(run);
    }
    longest
}

/// The ways into the unions of a schema; absent where it has none. The count ends beyond the limit.
fn alternatives(schema: &Value, root: &Value, hops: usize, looks: &mut usize) -> Option<usize> {
    *looks = looks.checked_sub(1).filter(|_| hops <= HOPS_MAX)?;
    let mut inner = |option| alternatives(option, root, hops + 1, looks);
    let parts = |key: &str| schema[key].as_array().into_iter().flatten().map(|part| resolve(part, root));
    let (mut unions, mut all) = (UNIONS.iter().flat_map(|key| parts(key)).peekable(), parts(PRODUCT).peekable());
    if unions.peek().is_none() && all.peek().is_none() {
        return None;
    }
    let (mut ways, mut marks) = (optional_run(schema), HashSet::new());
    for option in unions {
        ways += match inner(option) {
            Some(inner) => inner,
            // What its first property alone sets apart is a way of its own only up to there.
            None if mark(option).is_some_and(|mark| marks.insert(mark.to_string())) => 1,
            None => 1 + optional_run(option),
        };
        if ways > WAYS_MAX {
            break;
        }
    }
    let mut optional = 0;
    for part in all {
        match inner(part) {
            Some(inner) => ways = ways.max(1) * inner.max(1),
            None => optional += optional_run(part),
        }
        if ways > WAYS_MAX {
            break;
        }
    }
    Some(ways + optional)
}

/// The one value that an object's first property has to have.
fn mark(option: &Value) -> Option<&Value> {
    let (name, first) = option["properties"].as_object()?.iter().next()?;
    option["required"].as_array()?.iter().find(|required| *required == name)?;
    match first["enum"].as_array().map(Vec::as_slice) {
        Some([only]) => Some(only),
        _ => first.get("const"),
    }
}

/// What a reference inside the schema refers to.
fn resolve<'v>(schema: &'v Value, root: &'v Value) -> &'v Value {
    let mut schema = schema;
    for _ in 0..HOPS_MAX {
        let target = schema["$ref"].as_str().and_then(|reference| root.pointer(reference.strip_prefix('#')?));
        match target {
            Some(target) => schema = target,
            None => break,
        }
    }
    schema
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    fn object(optional: usize, first: Option<Value>) -> Value {
        let mut properties: Map<String, Value> = first.iter().map(|first| ("kind".to_owned(), first.clone())).collect();
        properties.extend((0..optional).map(|number| (format!("key{number}"), json!({"type": "integer"}))));
        let required: Vec<&str> = first.iter().map(|_| "kind").collect();
        json!({"type": "object", "properties": properties, "required": required})
    }

    fn ways(schema: Value) -> Option<usize> {
        match check(&schema) {
            Err(BadForm::TooWide { ways, .. }) => Some(ways),
            _ => None,
        }
    }

    #[test]
    fn optional_properties_are_ways_wherever_they_stand() {
        assert_eq!(ways(object(WAYS_MAX, None)), None);
        assert_eq!(ways(object(3000, None)), Some(3000));
        let inner = json!({"type": "array", "items": {"properties": {"a": object(201, None)}, "required": ["a"]}});
        assert_eq!(ways(inner), Some(201));
        let mut required = object(3000, None);
        required["required"] = required["properties"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(ways(required), None);
        assert_eq!(ways(json!({"const": object(3000, None)})), None);
    }

    #[test]
    fn alternatives_are_ways_and_so_are_their_properties_unless_they_are_set_apart() {
        let union = |count: usize, option: &dyn Fn(usize) -> Value| json!({"anyOf": (0..count).map(option).collect::<Vec<_>>()});
        assert_eq!(ways(union(200, &|number| json!({"const": number}))), None);
        assert!(ways(union(2000, &|_| object(0, None))).is_some());
        assert!(ways(union(60, &|_| object(60, None))).is_some());
        assert_eq!(ways(union(60, &|number| object(60, Some(json!({"const": number}))))), None);
        assert!(ways(union(60, &|_| object(60, Some(json!({"const": "all the same"}))))).is_some());
        let shared = json!({"$defs": {"a": object(50, None)}, "oneOf": vec![json!({"$ref": "#/$defs/a"}); 5]});
        assert!(ways(shared).is_some());
    }

    #[test]
    fn alternatives_of_one_come_with_each_of_another_that_holds_too() {
        let union = |prefix: &str, count: usize| json!({"anyOf": (0..count).map(|number| json!({"required": [format!("{prefix}{number}")]})).collect::<Vec<_>>()});
        assert_eq!(ways(json!({"allOf": [union("a", 10), union("b", 20)]})), None);
        assert_eq!(ways(json!({"allOf": [union("a", 20), union("b", 20)]})), Some(400));
        assert_eq!(ways(json!({"allOf": [object(150, None), object(150, None)]})), Some(300));
        assert_eq!(ways(json!({"allOf": [union("a", 20), union("b", 5), {"$ref": "#/allOf/1"}]})), Some(500));
    }

    #[test]
    fn what_refers_to_itself_has_an_end() {
        assert_eq!(ways(json!({"$ref": "#"})), None);
        assert!(ways(json!({"anyOf": [{"$ref": "#"}, {"$ref": "#"}]})).is_some());
        assert_eq!(ways(json!({"anyOf": [{"$ref": "#"}, {"type": "null"}]})), None);
        assert_eq!(ways(json!({"allOf": vec![json!({"$ref": "#"}); 100]})), None);
    }
}
