//! What templates may do and may not. That real ones give what transformers gives is tested from outside.

use super::*;

fn render(template: &str, messages: &str) -> Result<String, TemplateError> {
    let special = vec![("bos_token", "<s>".to_owned())];
    let template = ChatTemplate::compile(template.to_owned(), None, special).unwrap();
    let messages = serde_json::from_str(messages).unwrap();
    template.render(&Conversation { messages, answer: true, ..Conversation::default() })
}

#[test]
fn blocks_are_trimmed_and_python_methods_are_there() {
    let template = "{{ bos_token }}\n{% for m in messages %}\n    {% if m['role'] == 'user' %}\n{{ m.content.strip().upper() }}|{% endif %}\n{% endfor %}\n{% if add_generation_prompt %}A:{% endif %}\n";
    assert_eq!(render(template, r#"[{"role": "user", "content": " hi "}]"#).unwrap(), "<s>\nHI|A:");
}

#[test]
fn json_is_pythons() {
    let messages = r#"[{"z": [1, 2.5, true, null], "a": "<é\"\n&'>"}]"#;
    assert_eq!(
        render("{{ messages[0] | tojson }}", messages).unwrap(),
        r#"{"z": [1, 2.5, true, null], "a": "<é\"\n&'>"}"#
    );
    let indented = render("{{ messages | tojson(indent=2) }}", r#"[{"a": [], "b": [1]}]"#).unwrap();
    assert_eq!(indented, "[\n  {\n    \"a\": [],\n    \"b\": [\n      1\n    ]\n  }\n]");
}

#[test]
fn a_template_that_refuses_is_quoted() {
    let error =
        render("{% if messages[0].role == 'x' %}{{ raise_exception('no x!') }}{% endif %}", r#"[{"role": "x"}]"#);
    assert_eq!(error, Err(TemplateError::Refused("no x!".to_owned())));
}

#[test]
fn a_template_cannot_run_for_ever_nor_fill_the_memory() {
    let nested = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
    assert!(matches!(render(nested, "[]"), Err(TemplateError::Failed(_))));
    let long = "{% for a in range(9999) %}{{ 'x' * 9999 }}{% endfor %}";
    assert!(matches!(render(long, "[]"), Err(TemplateError::Failed(_))));
    assert!(ChatTemplate::compile("{% for %}".to_owned(), None, vec![]).is_err());
    assert!(ChatTemplate::compile("x".repeat(TEMPLATE_BYTES_MAX + 1), None, vec![]).is_err());
}

#[test]
fn today_is_a_date() {
    assert_eq!(date(0, "%d %b %Y").unwrap(), "01 Jan 1970");
    assert_eq!(date(20_512, "%Y-%m-%d, %B").unwrap(), "2026-02-28, February");
    assert_eq!(date(20_513, "%d%%").unwrap(), "01%");
    assert!(date(0, "%H").is_err());
}
