//! What 1 GiB costs over HTTP, against `sha256sum` and `cp` of the same file in the same run:
//! `cargo test --release -p headland-registry --test oci speed -- --ignored --nocapture`

use std::process::{Command, Stdio};
use std::time::Instant;

use headland_package::Sha256Digest;

use super::registry::TestRegistry;
use super::tools::serve;

const FILE_BYTES: usize = 1 << 30;
const ROUNDS: usize = 3;

async fn timed(what: &str, program: &str, arguments: &[&str]) {
    let mut command = Command::new(program);
    command.args(arguments).stdout(Stdio::null());
    let start = Instant::now();
    let status = tokio::task::spawn_blocking(move || command.status()).await.unwrap().unwrap();
    println!("  {what:<44} {:7.3} s", start.elapsed().as_secs_f64());
    assert!(status.success());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: writes several GiB"]
async fn speed_of_one_gib_over_http() {
    let dir = tempfile::tempdir().unwrap();
    let (file, copy) = (dir.path().join("file"), dir.path().join("copy"));
    let noise = format!("head -c {FILE_BYTES} /dev/urandom > {0} && sync {0}", file.display());
    timed("write the file", "sh", &["-c", &noise]).await;
    let digest = Sha256Digest::of_file(&file).unwrap();
    let (file, copy) = (file.to_str().unwrap(), copy.to_str().unwrap());
    for round in 1..=ROUNDS {
        println!("round {round}");
        timed("sha256sum", "sha256sum", &[file]).await;
        timed("cp and sync", "sh", &["-c", &format!("cp {file} {copy} && sync {copy}; rm {copy}")]).await;
        let registry = TestRegistry::new();
        let at = serve(&registry).await;
        let upload = format!("http://{at}/v2/models/m/blobs/uploads?digest={digest}");
        let post = ["-sSf", "-X", "POST", "-H", "Expect:", "-T", file, &upload];
        timed("upload in one request (curl)", "curl", &post).await;
        let blob = format!("http://{at}/v2/models/m/blobs/{digest}");
        timed("download (curl)", "curl", &["-sSf", "-o", "/dev/null", &blob]).await;
        timed("read it again as a file (cat)", "sh", &["-c", &format!("cat {file} | cat > /dev/null")]).await;
    }
}
