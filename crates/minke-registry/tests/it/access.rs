//! Who we are to registries: passwords, tokens, identity tokens; and that credentials go nowhere else.

use std::time::Duration;

use minke_registry::client::{Credentials, ErrorKind, Registry, TagOrDigest};
use minke_registry::server::{Access, Users};
use minke_registry::testing::{Fault, Stand};

use crate::setup::{blob, noise, push, repository_of, settings, tag, user};

fn users() -> Users {
    Users::from([("jane".to_owned(), "s3cret:x".to_owned())])
}

fn token_access(life: Duration, anonymous_pull: bool) -> Access {
    Access::Token { users: users(), anonymous_pull, life, realm: None, service: "registry.example".into() }
}

async fn token_stand() -> Stand {
    Stand::new(token_access(Duration::from_secs(60), true), None).await
}

fn jane() -> Credentials {
    user("jane", "s3cret:x")
}

#[tokio::test]
async fn a_password_is_shown_where_it_is_asked_for() {
    let stand = Stand::new(Access::Basic(users()), None).await;
    let repository = repository_of(settings(), &stand.host(), "app", jane());
    push(&repository, "1", &noise(100)).await;
    repository.manifest(&tag("1")).await.unwrap();
    let shown = stand.seen();
    assert_eq!(shown[0].authorization, "");
    assert!(shown[1..].iter().all(|seen| seen.authorization == "Basic amFuZTpzM2NyZXQ6eA=="));

    let nobody = repository_of(settings(), &stand.host(), "app", Credentials::Anonymous);
    let error = nobody.manifest(&tag("1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    let expected = format!("Head \"http://{}/v2/app/manifests/1\": no basic auth credentials", stand.host());
    assert_eq!(error.to_string(), expected);
    let wrong = repository_of(settings(), &stand.host(), "app", user("jane", "x"));
    let error = wrong.manifest(&tag("1")).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (ErrorKind::Unauthorized, "unauthorized: authentication required")
    );
}

#[tokio::test]
async fn a_token_is_fetched_once_and_used_for_all() {
    let stand = token_stand().await;
    let repository = repository_of(settings(), &stand.host(), "team/app", jane());
    let (_, layer) = push(&repository, "1", &noise(100_000)).await;
    assert_eq!(stand.count("GET", "/token"), 1);
    let asked = stand.seen().into_iter().find(|seen| seen.target.starts_with("/token")).unwrap();
    assert_eq!(
        asked.target,
        "/token?service=registry.example&scope=repository:team/app:pull,push&account=jane"
    );
    assert!(asked.authorization.starts_with("Basic "));

    let anybody = repository_of(settings(), &stand.host(), "team/app", Credentials::Anonymous);
    anybody.manifest(&tag("1")).await.unwrap();
    blob(&anybody, &layer, 100_000).await.unwrap();
    assert_eq!(stand.count("GET", "/token"), 2);
}

#[tokio::test]
async fn a_token_that_ends_in_the_middle_is_replaced() {
    let stand = token_stand().await;
    let repository = repository_of(settings(), &stand.host(), "app", jane());
    let (_, layer) = push(&repository, "1", &noise(1_000_000)).await;
    let before = stand.count("GET", "/token");
    stand.fault("GET", "/blobs/", 1, Fault::CutAfter(300_000));
    let refusal = |host: &str| {
        let challenge = format!("Bearer realm=\"http://{host}/token\",service=\"s\",error=\"invalid_token\"");
        Fault::Answer(401, vec![("www-authenticate", challenge)], String::new())
    };
    stand.fault("GET", "/blobs/", 1, refusal(&stand.host()));
    assert_eq!(blob(&repository, &layer, 1_000_000).await.unwrap(), noise(1_000_000));
    assert!(stand.count("GET", "/token") > before);

    let short = Stand::new(token_access(Duration::ZERO, true), None).await;
    let repository = repository_of(settings(), &short.host(), "app", jane());
    // Tokens that are over at once: refused with words, after a bounded number of tries.
    let error = repository.manifest(&tag("1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    assert!(short.count("GET", "/token") <= 3);
}

#[tokio::test]
async fn what_may_not_be_pushed_or_pulled_is_denied_in_dockers_words() {
    let stand = token_stand().await;
    let anybody = repository_of(settings(), &stand.host(), "app", Credentials::Anonymous);
    let error = anybody.has_blob(&minke_model::Digest::sha256(&[0; 32])).await;
    assert!(!error.unwrap());
    let error = anybody.put_manifest(&tag("1"), "x/y", "{}".into()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(
        error.to_string().starts_with("errors:\ndenied: requested access to the resource is denied\n"),
        "{error}"
    );

    let closed = Stand::new(token_access(Duration::from_secs(60), false), None).await;
    let anybody = repository_of(settings(), &closed.host(), "app", Credentials::Anonymous);
    let error = anybody.manifest(&tag("1")).await.unwrap_err();
    let start = format!(
        "pull access denied for {}/app, repository does not exist or may require 'docker login': denied: requested access to the resource is denied",
        closed.host()
    );
    assert_eq!(error.to_string(), start);
}

#[tokio::test]
async fn a_login_gives_an_identity_token_that_stands_for_the_password() {
    let stand = token_stand().await;
    let registry = Registry::new(settings());
    let answer = registry.login(&stand.host(), &jane()).await.unwrap();
    assert_eq!(answer.status, "Login Succeeded");
    assert!(!answer.identity_token.is_empty());
    let identity = Credentials::IdentityToken { username: "jane".into(), token: answer.identity_token };
    let repository = repository_of(settings(), &stand.host(), "app", identity);
    push(&repository, "1", &noise(100)).await;
    assert_eq!(stand.count("POST", "/token"), 1);

    let error = registry.login(&stand.host(), &user("jane", "wrong")).await.unwrap_err();
    let words = format!("Get \"http://{}/v2/\": unauthorized: incorrect username or password", stand.host());
    assert_eq!((error.kind(), error.to_string()), (ErrorKind::Unauthorized, words));

    let basic = Stand::new(Access::Basic(users()), None).await;
    let answer = registry.login(&format!("http://{}/v2/", basic.host()), &jane()).await.unwrap();
    assert_eq!(answer.identity_token, "");
    let error = registry.login(&basic.host(), &user("jane", "wrong")).await.unwrap_err();
    let words = format!("login attempt to http://{}/v2/ failed with status: 401 Unauthorized", basic.host());
    assert_eq!(error.to_string(), words);
}

#[tokio::test]
async fn an_object_store_is_not_shown_the_credential() {
    let store = Stand::open().await;
    let stand = token_stand().await;
    let repository = repository_of(settings(), &stand.host(), "app", jane());
    let (_, layer) = push(&repository, "1", &noise(500_000)).await;
    push(&crate::setup::repository(&store, "bucket"), "1", &noise(500_000)).await;
    let to = format!("http://{}/v2/bucket/blobs/{layer}?X-Amz-Signature=a%2Fb", store.host());
    stand.fault("GET", "/blobs/", 2, Fault::Answer(307, vec![("location", to)], String::new()));
    store.fault("GET", "/blobs/", 1, Fault::CutAfter(200_000));
    assert_eq!(blob(&repository, &layer, 500_000).await.unwrap(), noise(500_000));
    let asked: Vec<_> = store.seen().into_iter().filter(|seen| seen.target.contains("X-Amz")).collect();
    assert_eq!(asked.len(), 2);
    assert!(asked.iter().all(|seen| seen.authorization.is_empty()), "{asked:?}");
    assert!(asked[0].target.ends_with("?X-Amz-Signature=a%2Fb"));
    assert!(!asked[1].range.is_empty());
    // What the store asks for is not answered with what belongs to the registry.
    let to = format!("http://{}/v2/bucket/blobs/{layer}", store.host());
    stand.fault("GET", "/blobs/", 1, Fault::Answer(307, vec![("location", to)], String::new()));
    let challenge = vec![("www-authenticate", "Basic realm=\"x\"".to_owned())];
    store.fault("GET", "/blobs/", 9, Fault::Answer(401, challenge, String::new()));
    assert_eq!(repository.blob(&layer, 500_000, 0).await.err().unwrap().kind(), ErrorKind::Unauthorized);
    assert!(store.seen().iter().all(|seen| seen.authorization.is_empty()));
}

/// The answers of token servers differ; what is fetched with them does not.
#[tokio::test]
async fn registries_of_each_kind_are_understood() {
    for (challenge, token) in [
        // Docker Hub: both names, an issue date.
        (
            r#"Bearer realm="http://HOST/auth",service="registry.docker.io",scope="repository:app:pull""#,
            r#"{"token":"T","access_token":"T","expires_in":300,"issued_at":"2026-01-01T00:00:00Z"}"#,
        ),
        // GitHub: a scope that is only an example, a token without a life.
        (
            r#"Bearer realm="http://HOST/auth",service="ghcr.io",scope="repository:user/image:pull""#,
            r#"{"token":"T"}"#,
        ),
        // Google: `expires_in` and no service of its own.
        (
            r#"Bearer realm="http://HOST/auth",service="""#,
            r#"{"expires_in":43200,"issued_at":"2026-01-01T00:00:00Z","token":"T"}"#,
        ),
        // Azure: only `access_token`, an error from the first refusal on.
        (
            r#"Bearer realm="http://HOST/auth",service="HOST",scope="repository:app:pull",error="invalid_token""#,
            r#"{"access_token":"T"}"#,
        ),
        // Two ways at once, the password first.
        (
            r#"Basic realm="x", Bearer realm="http://HOST/auth" , service=s"#,
            r#"{"token":"","access_token":"T"}"#,
        ),
    ] {
        let stand = Stand::open().await;
        push(&crate::setup::repository(&stand, "app"), "1", &noise(10)).await;
        let challenge = challenge.replace("HOST", &stand.host());
        stand.fault(
            "GET",
            "/manifests/",
            1,
            Fault::Answer(401, vec![("www-authenticate", challenge.clone())], String::new()),
        );
        stand.fault("GET", "/auth", 1, Fault::Answer(200, vec![], token.into()));
        let repository = repository_of(settings(), &stand.host(), "app", jane());
        repository.manifest(&tag("1")).await.unwrap();
        let seen = stand.seen();
        let last = seen.last().unwrap();
        assert_eq!(last.authorization, "Bearer T", "{challenge}");
        let asked = seen.iter().find(|seen| seen.target.starts_with("/auth")).unwrap();
        assert!(asked.target.contains("scope=repository:app:pull"), "{}", asked.target);
    }
    // Amazon: a password, and redirects to its store.
    let stand = Stand::new(Access::Basic(Users::from([("AWS".into(), "long".into())])), None).await;
    let repository = repository_of(settings(), &stand.host(), "app", user("AWS", "long"));
    let (digest, layer) = push(&repository, "1", &noise(10)).await;
    repository.manifest(&TagOrDigest::Digest(digest)).await.unwrap();
    let store = Stand::open().await;
    push(&crate::setup::repository(&store, "bucket"), "1", &noise(10)).await;
    let to = format!("http://{}/v2/bucket/blobs/{layer}?X-Amz-Expires=3600", store.host());
    stand.fault("GET", "/blobs/", 1, Fault::Answer(307, vec![("location", to)], String::new()));
    assert_eq!(blob(&repository, &layer, 10).await.unwrap(), noise(10));
    let asked: Vec<_> = store.seen().into_iter().filter(|seen| seen.target.contains("X-Amz")).collect();
    assert!(asked.len() == 1 && asked[0].authorization.is_empty(), "{asked:?}");
}

#[tokio::test]
async fn token_servers_that_misbehave_are_errors() {
    for (realm, answer) in [
        ("http://HOST/auth", "not json"),
        ("http://HOST/auth", "{}"),
        ("http://HOST/auth", r#"{"token":"line\nbreak"}"#),
        ("http://169.254.169.254/token", ""),
        ("gopher://HOST/", ""),
        ("", ""),
    ] {
        let stand = Stand::open().await;
        let realm = realm.replace("HOST", &stand.host());
        let challenge = vec![("www-authenticate", format!("Bearer realm=\"{realm}\""))];
        stand.fault("GET", "/manifests/", 9, Fault::Answer(401, challenge, String::new()));
        stand.fault("GET", "/auth", 9, Fault::Answer(200, vec![], answer.into()));
        let repository = repository_of(settings(), &stand.host(), "app", Credentials::Anonymous);
        let error = repository.manifest(&tag("1")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{realm} {answer}: {error}");
    }
    // A password goes to no token server in clear text that isn't the registry itself.
    let stand = Stand::open().await;
    let challenge = vec![("www-authenticate", "Bearer realm=\"http://auth.invalid/token\"".to_owned())];
    stand.fault("GET", "/manifests/", 9, Fault::Answer(401, challenge, String::new()));
    let repository = repository_of(settings(), &stand.host(), "app", jane());
    let error = repository.manifest(&tag("1")).await.unwrap_err();
    assert!(error.to_string().contains("in clear text"), "{error}");
}

#[tokio::test]
async fn a_layer_that_is_elsewhere_only_comes_from_there_without_the_credential() {
    let store = Stand::open().await;
    let stand = token_stand().await;
    let repository = repository_of(settings(), &stand.host(), "app", jane());
    let (_, layer) = push(&crate::setup::repository(&store, "bucket"), "1", &noise(500_000)).await;
    let mut descriptor = minke_model::image::Descriptor::new("application/x", layer.clone(), 500_000);
    assert_eq!(repository.layer(&descriptor, 0).await.err().unwrap().kind(), ErrorKind::NotFound);
    let good = format!("http://{}/v2/bucket/blobs/{layer}", store.host());
    descriptor.urls = vec!["http://169.254.169.254/x".into(), "file:///etc/passwd".into(), good];
    store.fault("GET", "/blobs/", 1, Fault::CutAfter(200_000));
    let stream = repository.layer(&descriptor, 0).await.unwrap().verified();
    assert_eq!(crate::setup::read(stream).await.unwrap(), noise(500_000));
    assert!(store.seen().iter().all(|seen| seen.authorization.is_empty()));
}
