//! Which files of a repository a model needs. Pure.

/// Extensions of weights, the one that is taken first.
const WEIGHTS: [&str; 3] = ["safetensors", "onnx", "gguf"];
/// Extensions of what stands beside the weights; `onnx_data` is the rest of large graphs.
const BESIDE: [&str; 4] = ["json", "txt", "model", "jinja"];
const REST_OF_GRAPHS: [&str; 2] = ["onnx_data", "data"];
const MANIFEST: &str = "headland.model.toml";
const SIGNATURE: &str = "model.sig";
/// Of GGUF files each is a whole model, and repositories have many: where nobody says which, the one that is said to lose little
/// for its size.
const GGUF: &str = "gguf";
const USUAL_GGUF: &str = "q4_k_m";
/// What version control keeps, which no signature covers.
const GIT: [&str; 3] = [".gitattributes", ".gitignore", ".github/"];

/// The names to fetch. With patterns, what they match. Of a signed model everything, since its signature names everything.
/// Else the weights of one format and what stands beside them; weights in formats that run code when loaded never.
pub fn choose<'a>(names: &[&'a str], include: &[String]) -> Vec<&'a str> {
    let wanted: Box<dyn Fn(&str) -> bool> = if !include.is_empty() {
        Box::new(|name| include.iter().any(|pattern| matches(pattern, name)))
    } else if names.contains(&SIGNATURE) {
        Box::new(|name| !GIT.iter().any(|git| name.starts_with(git)))
    } else {
        let format = WEIGHTS.into_iter().find(|format| names.iter().any(|name| extension(name) == Some(format)));
        let gguf = usual_gguf(names);
        Box::new(move |name| match extension(name) {
            _ if name == MANIFEST => true,
            Some(GGUF) => format == Some(GGUF) && gguf == Some(name),
            Some(extension) if BESIDE.contains(&extension) => true,
            Some(extension) if REST_OF_GRAPHS.contains(&extension) => format == Some("onnx"),
            extension => extension.is_some() && extension == format,
        })
    };
    names.iter().copied().filter(|name| wanted(name)).collect()
}

fn usual_gguf<'a>(names: &[&'a str]) -> Option<&'a str> {
    let files = || names.iter().copied().filter(|name| extension(name) == Some(GGUF));
    files().find(|name| name.to_lowercase().contains(USUAL_GGUF)).or_else(|| files().next())
}

fn extension(name: &str) -> Option<&str> {
    let name = name.rsplit('/').next()?;
    name.rsplit_once('.').map(|(_, extension)| extension)
}

/// Whether `name` is what `pattern` says, where `*` stands for anything. A pattern of a folder stands for all in it.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() || pattern.ends_with('/') };
    for part in parts {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// A path as it stands in a URL.
pub fn url_path(path: &str) -> String {
    let mut url = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'_' | b'-' | b'~') {
            url.push(char::from(byte));
        } else {
            url.push_str(&format!("%{byte:02X}"));
        }
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINILM: [&str; 12] = [
        ".gitattributes",
        "1_Pooling/config.json",
        "README.md",
        "config.json",
        "model.safetensors",
        "onnx/model.onnx",
        "onnx/model_O4.onnx",
        "openvino/openvino_model.bin",
        "pytorch_model.bin",
        "tf_model.h5",
        "tokenizer.json",
        "vocab.txt",
    ];

    #[test]
    fn one_format_of_weights_and_the_small_files_are_enough() {
        let expected = ["1_Pooling/config.json", "config.json", "model.safetensors", "tokenizer.json", "vocab.txt"];
        assert_eq!(choose(&MINILM, &[]), expected);
        let onnx = ["model.onnx", "model.onnx_data", "weights.data", "x.bin", "spiece.model", "headland.model.toml"];
        let expected = ["model.onnx", "model.onnx_data", "weights.data", "spiece.model", "headland.model.toml"];
        assert_eq!(choose(&onnx, &[]), expected);
        assert!(choose(&["pytorch_model.bin", "x.pt", "x.h5", "noextension"], &[]).is_empty());
    }

    #[test]
    fn of_a_language_model_all_parts_and_of_gguf_files_one_are_enough() {
        let parts = ["config.json", "model-1.safetensors", "model-2.safetensors", "chat_template.jinja", "x.gguf"];
        assert_eq!(choose(&parts, &[]), parts[..4]);
        assert_eq!(choose(&["m.Q2_K.gguf", "m.Q4_K_M.gguf", "m.Q8_0.gguf"], &[]), ["m.Q4_K_M.gguf"]);
        assert_eq!(choose(&["m.f16.gguf", "m.q8_0.gguf", "README.md"], &[]), ["m.f16.gguf"]);
        assert_eq!(choose(&["m.Q2_K.gguf", "m.Q4_K_M.gguf"], &["*Q2*".to_owned()]), ["m.Q2_K.gguf"]);
    }

    #[test]
    fn patterns_choose_instead() {
        let chosen = |patterns: &[&str]| choose(&MINILM, &patterns.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>());
        assert_eq!(chosen(&["onnx/model.onnx", "*.txt"]), ["onnx/model.onnx", "vocab.txt"]);
        assert_eq!(chosen(&["onnx/"]), ["onnx/model.onnx", "onnx/model_O4.onnx"]);
        assert_eq!(chosen(&["*ng/con*.json"]), ["1_Pooling/config.json"]);
        assert_eq!(chosen(&["*"]).len(), MINILM.len());
        assert!(chosen(&["model", "onnx", "*.gguf"]).is_empty());
    }

    #[test]
    fn a_signed_model_is_fetched_whole() {
        assert_eq!(
            choose(&[".gitattributes", "a.bin", "README.md", "model.sig"], &[]),
            ["a.bin", "README.md", "model.sig"]
        );
    }

    #[test]
    fn names_are_escaped_in_addresses() {
        assert_eq!(url_path("a b/c?d#e%2e.json"), "a%20b/c%3Fd%23e%252e.json");
    }
}
