//! The `oci-client` crate, which many Rust tools push and pull with.

use headland_package::Sha256Digest;
use headland_package::oci::{ARTIFACT_TYPE_SIGNATURE, MEDIA_TYPE_WASM, MEDIA_TYPE_WASM_CONFIG};
use oci_client::client::{ClientConfig, ClientProtocol, Config, ImageLayer};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};

use super::registry::TestRegistry;
use super::tools::serve;

fn client() -> Client {
    Client::new(ClientConfig { protocol: ClientProtocol::Http, ..ClientConfig::default() })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_is_pushed_listed_and_pulled() {
    let registry = TestRegistry::new();
    let at = serve(&registry).await;
    // Larger than the crate's chunk of 4 MiB.
    let component: Vec<u8> = (0..1_500_000_u32).flat_map(u32::to_le_bytes).collect();
    let layers = [ImageLayer::new(component.clone(), MEDIA_TYPE_WASM.into(), None)];
    let config = Config::new(b"{}".to_vec(), MEDIA_TYPE_WASM_CONFIG.into(), None);
    let reference: Reference = format!("{at}/library/component:1").parse().unwrap();
    client().push(&reference, &layers, config, &RegistryAuth::Anonymous, None).await.unwrap();

    let pulled = client().pull(&reference, &RegistryAuth::Anonymous, vec![MEDIA_TYPE_WASM]).await.unwrap();
    assert!(pulled.layers[0].data == component);
    let digest = client().fetch_manifest_digest(&reference, &RegistryAuth::Anonymous).await.unwrap();
    assert_eq!(pulled.digest, Some(digest));
    let tags = client().list_tags(&reference, &RegistryAuth::Anonymous, None, None).await.unwrap();
    assert_eq!(tags.tags, ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_signatures_of_a_model_are_found() {
    let registry = TestRegistry::new();
    let at = serve(&registry).await;
    let subject = registry.push_model("m", "1", &[("model.onnx", b"weights")]).await;
    registry.push_signature("models/m", b"bundle", subject.clone()).await;
    let reference: Reference = format!("{at}/models/m@{}", subject.digest).parse().unwrap();
    let index = client().pull_referrers(&reference, Some(ARTIFACT_TYPE_SIGNATURE)).await.unwrap();
    let [signature] = &index.manifests[..] else { panic!("{index:?}") };
    let signature: Reference = format!("{at}/models/m@{}", signature.digest).parse().unwrap();
    let pulled = client().pull(&signature, &RegistryAuth::Anonymous, vec![ARTIFACT_TYPE_SIGNATURE]).await.unwrap();
    assert_eq!(Sha256Digest::of(&pulled.layers[0].data), Sha256Digest::of(b"bundle"));
}
