//! What the infer body's reader takes, and what it says to the rest.

use proptest::prelude::*;

use super::*;

fn parse(json: &str) -> Result<InferRequest, String> {
    parse_infer(None, &Bytes::copy_from_slice(json.as_bytes())).map_err(|error| error.to_string())
}

fn with_binary(json: &str, binary: &[u8]) -> Result<InferRequest, String> {
    let body = Bytes::from([json.as_bytes(), binary].concat());
    parse_infer(Some(json.len()), &body).map_err(|error| error.to_string())
}

#[test]
fn a_whole_json_request_is_read() {
    let request = parse(
        r#"{"id": "7", "parameters": {"timeout": 1500, "binary_data_output": true, "priority": 1, "x": {"y": []}},
            "inputs": [{"name": "a", "shape": [1, 2], "datatype": "FP32", "data": [[0.5, 2]]}],
            "outputs": [{"name": "y", "parameters": {"binary_data": false}}, {"name": "z"}]}"#,
    )
    .unwrap();
    assert_eq!((request.id.as_deref(), request.timeout), (Some("7"), Some(Duration::from_micros(1500))));
    assert!(request.binary_outputs);
    assert_eq!(&*request.inputs[0].tensor.to_slice::<f32>().unwrap(), &[0.5, 2.0]);
    let output = |name: &str, binary| RequestedOutput { name: name.into(), binary };
    assert_eq!(request.outputs, [output("y", Some(false)), output("z", None)]);
}

#[test]
fn data_before_its_datatype_is_read_all_the_same() {
    let request =
        parse(r#"{"inputs": [{"data": [-9007199254740993], "shape": [1], "name": "a", "datatype": "INT64"}]}"#)
            .unwrap();
    assert_eq!(&*request.inputs[0].tensor.to_slice::<i64>().unwrap(), &[-9_007_199_254_740_993]);
}

#[test]
fn binary_tensors_are_views_of_the_body() {
    let json = r#"{"inputs": [
        {"name": "a", "shape": [2], "datatype": "INT16", "parameters": {"binary_data_size": 4}},
        {"name": "b", "shape": [1], "datatype": "UINT8", "data": [7]},
        {"name": "c", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 6}}]}"#;
    let body = Bytes::from([json.as_bytes(), &[1, 0, 2, 0, 2, 0, 0, 0, b'h', b'i']].concat());
    let request = parse_infer(Some(json.len()), &body).unwrap();
    let [a, b, c] = &request.inputs[..] else { panic!() };
    assert_eq!(a.tensor.data().as_ptr(), body[json.len()..].as_ptr());
    assert_eq!(&*a.tensor.to_slice::<i16>().unwrap(), &[1, 2]);
    assert_eq!(&b.tensor.data()[..], &[7]);
    assert_eq!(c.tensor.strings().unwrap(), [b"hi"]);
}

#[test]
fn malformed_json_is_located() {
    for (json, expected) in [
        ("", "line 1, column 0: EOF while parsing a value"),
        ("{\n  \"inputs\": [}", "line 2, column 14: expected value"),
        ("{}", "line 1, column 2: missing field `inputs`"),
        (r#"{"inputs": [{"name": "a"}]}"#, "missing field `datatype`"),
        (r#"{"inputs": [{"name": "a", "name": "b"}]}"#, "duplicate field `name`"),
        (r#"{"inputs": [{"name": "a", "datatype": "FLOAT"}]}"#, "line 1, column 46: unknown datatype `FLOAT`"),
        (r#"{"inputs": [{"name": "a", "shape": [-1]}]}"#, "invalid value: integer `-1`"),
        (
            "{\"inputs\": [{\"name\": \"a\", \"datatype\": \"INT8\", \"shape\": [1],\n \"data\": [999]}]}",
            "line 2, column 13: `999` is no INT8",
        ),
        (
            "{\"inputs\": [{\"name\": \"a\",\n \"data\": [1,\n999], \"datatype\": \"INT8\", \"shape\": [2]}]}",
            "line 3, column 3: `999` is no INT8",
        ),
        (
            "{\"inputs\": [{\"name\": \"a\",\n \"data\": [999], \"datatype\": \"INT8\", \"shape\": [1]}]}",
            "line 2, column 13: `999` is no INT8",
        ),
        (r#"{"inputs": []} x"#, "line 1, column 16: trailing characters"),
    ] {
        let error = parse(json).unwrap_err();
        assert!(error.contains(expected), "{json}\n  {error}\n  {expected}");
    }
}

#[test]
fn parts_that_do_not_go_together_are_named() {
    let input = |parameters: &str| {
        format!(r#"{{"inputs": [{{"name": "a", "shape": [2], "datatype": "INT16", "parameters": {parameters}}}]}}"#)
    };
    for (json, binary, expected) in [
        (input(r#"{"binary_data_size": 4}"#), &[0; 3][..], "input `a`: `binary_data_size` is 4, but 3 bytes"),
        (input(r#"{"binary_data_size": 4}"#), &[0; 5], "1 bytes are left over"),
        (input(r#"{"binary_data_size": 3}"#), &[0; 3], "input `a`: INT16 [2] needs 4 bytes, got 3"),
        (input("{}"), &[], "input `a`: `data` is missing"),
        (input(r#"{"shared_memory_region": "r"}"#), &[], "shared memory is not supported"),
    ] {
        let error = with_binary(&json, binary).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    let error = parse_infer(Some(9), &Bytes::from_static(b"{}")).unwrap_err().to_string();
    assert_eq!(error, "Inference-Header-Content-Length is 9, but the body has 2 bytes");
}

#[test]
fn classification_is_refused_with_what_to_do() {
    let error =
        parse(r#"{"inputs": [], "outputs": [{"name": "y", "parameters": {"classification": 3}}]}"#).unwrap_err();
    assert!(error.starts_with("output `y`: the classification extension is not supported"), "{error}");
}

proptest! {
    #[test]
    fn no_body_makes_it_panic(body in prop::collection::vec(any::<u8>(), 0..200), header in prop::option::of(0usize..250)) {
        let _ = parse_infer(header, &Bytes::from(body));
    }

    #[test]
    fn no_mangled_request_makes_it_panic(at in 0usize..140, byte in any::<u8>()) {
        let mut json = br#"{"id":"1","inputs":[{"name":"a","shape":[1,2],"datatype":"FP32","data":[[0.5,2]]}],"outputs":[{"name":"y"}]}"#.to_vec();
        let at = at % json.len();
        json[at] = byte;
        let _ = parse_infer(None, &Bytes::from(json));
    }
}
