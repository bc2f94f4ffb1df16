//! Over TLS, and with certificates of clients.

use serde_json::Value;

use super::house::Service;
use crate::place::{Place, finish};

/// A key, what signs with it, and the PEM of its certificate.
fn authority(name: &str) -> (rcgen::Issuer<'static, rcgen::KeyPair>, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).unwrap().pem();
    (rcgen::Issuer::new(params, key), pem)
}

/// A certificate for that name, and its key, in PEM.
fn signed(by: &rcgen::Issuer<'_, rcgen::KeyPair>, name: &str) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    (
        params.signed_by(&key, by).unwrap().pem(),
        key.serialize_pem(),
    )
}

fn agent(root: &str, client: Option<&(String, String)>) -> ureq::Agent {
    use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};
    let roots = vec![Certificate::from_pem(root.as_bytes()).unwrap()];
    let client = client.map(|(certificate, key)| {
        let chain = [Certificate::from_pem(certificate.as_bytes()).unwrap()];
        ClientCert::new_with_certs(&chain, PrivateKey::from_pem(key.as_bytes()).unwrap())
    });
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&roots))
        .client_cert(client)
        .build();
    ureq::Agent::config_builder().tls_config(tls).build().into()
}

fn health(agent: &ureq::Agent, service: &Service) -> Result<Value, ureq::Error> {
    let url = service.url.replace("127.0.0.1", "localhost");
    let mut answer = agent.get(format!("{url}/healthz")).call()?;
    Ok(serde_json::from_str(&answer.body_mut().read_to_string()?).unwrap())
}

#[test]
fn a_service_with_a_certificate_is_reached_by_those_who_trust_it_and_only_over_tls() {
    let (authority, root) = authority("an authority");
    let (certificate, key) = signed(&authority, "localhost");
    let place = Place::new();
    place.write("cert.pem", &certificate);
    place.write("key.pem", &key);
    let more = ["--tls-cert", "cert.pem", "--tls-key", "key.pem"];
    let service = Service::with(place, &[finish("ok")], &more);
    assert!(service.url.starts_with("https://"), "{}", service.url);
    assert_eq!(
        health(&agent(&root, None), &service).unwrap()["status"],
        "ok"
    );
    let (_, other) = self::authority("another authority");
    assert!(health(&agent(&other, None), &service).is_err());
    use std::io::{Read, Write};
    let mut plain = service.connect();
    plain
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "it answers in the clear");
}

#[test]
fn nodes_show_a_certificate_where_that_is_asked_for() {
    let (authority, root) = authority("an authority");
    let (nodes, nodes_root) = self::authority("an authority for nodes");
    let (certificate, key) = signed(&authority, "localhost");
    let place = Place::new();
    place.write("cert.pem", &certificate);
    place.write("key.pem", &key);
    place.write("nodes.pem", &nodes_root);
    let more = [
        "--tls-cert",
        "cert.pem",
        "--tls-key",
        "key.pem",
        "--client-ca",
        "nodes.pem",
    ];
    let service = Service::with(place, &[finish("ok")], &more);
    let node = signed(&nodes, "node-1");
    assert!(health(&agent(&root, Some(&node)), &service).is_ok());
    assert!(health(&agent(&root, None), &service).is_err());
    let stranger = signed(&authority, "node-1");
    assert!(health(&agent(&root, Some(&stranger)), &service).is_err());
}
