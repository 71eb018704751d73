//! The pages, asked for over a real socket.

use super::*;
use crate::metrics::ShardMetrics;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn ask(address: std::net::SocketAddr, request: &str) -> String {
    let request =
        format!("{request} HTTP/1.1\r\nHost: localhost:9855\r\nConnection: close\r\n\r\n");
    say(address, &request).await
}

async fn say(address: std::net::SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer
}

#[test]
fn pages_answer_and_nothing_else_does() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (scrapes, mut requests) = mpsc::channel::<Scrape>(1);
        let (readiness, ready) = watch::channel(true);
        let (_facts, facts) = watch::channel(Facts {
            certificates: Vec::new(),
            reload_successful: true,
            reloaded: std::time::SystemTime::UNIX_EPOCH,
        });
        let records = || RecordTotals {
            written: 0,
            lost: 0,
            waiting: 0,
            up: true,
        };
        let hosts = Hosts::new(Some(address), []);
        tokio::spawn(serve(
            listener,
            hosts,
            State::new(scrapes, ready, facts, records),
            None,
        ));
        tokio::spawn(async move {
            while let Some(Scrape { reply }) = requests.recv().await {
                let numbers = Box::new(ShardMetrics::default());
                let _ = reply.send(vec![ShardSnapshot {
                    shard: 0,
                    up: false,
                    numbers,
                }]);
            }
        });
        let metrics = ask(address, "GET /metrics").await;
        assert!(
            metrics.starts_with("HTTP/1.1 200") && metrics.contains("text/plain; version=0.0.4"),
            "{metrics}"
        );
        assert!(
            metrics.contains("msrpd_shard_up{shard=\"0\"} 0"),
            "{metrics}"
        );
        let histograms = ask(address, "GET /histograms").await;
        assert!(
            histograms.starts_with("HTTP/1.1 200") && histograms.contains("application/json"),
            "{histograms}"
        );
        assert!(
            ask(address, "GET /healthz")
                .await
                .starts_with("HTTP/1.1 200")
        );
        assert!(
            ask(address, "GET /readyz")
                .await
                .starts_with("HTTP/1.1 200")
        );
        assert!(
            ask(address, "POST /metrics")
                .await
                .starts_with("HTTP/1.1 405")
        );
        assert!(ask(address, "GET /").await.starts_with("HTTP/1.1 404"));
        for (head, code) in [
            ("GET /readyz HTTP/1.1\r\nHost: evil.example", "421"),
            ("GET /readyz HTTP/1.1\r\nHost: 192.0.2.1:9855", "421"),
            (
                "GET http://evil.example/readyz HTTP/1.1\r\nHost: localhost",
                "421",
            ),
            (
                "GET /readyz HTTP/1.1\r\nHost: localhost\r\nHost: localhost",
                "421",
            ),
            ("GET /readyz HTTP/1.1\r\nHost: 127.0.0.1:1", "200"),
            ("GET /readyz HTTP/1.0", "200"),
        ] {
            let answer = say(address, &format!("{head}\r\nConnection: close\r\n\r\n")).await;
            assert_eq!(answer.get(9..12), Some(code), "{head}: {answer}");
        }
        readiness.send(false).expect("somebody looks");
        assert!(
            ask(address, "GET /readyz")
                .await
                .starts_with("HTTP/1.1 503")
        );
    });
}

/// SEC-06: probes are answered while others hold all the places with requests that never end, also from the same address;
/// and who does not come to an end goes.
#[test]
fn probes_are_answered_beside_requests_that_do_not_end() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let hosts = Hosts::new(Some(address), []);
        let router = Router::new().route("/healthz", get(|| async { "ok\n" }));
        let listener = BoundedListener::new(listener).expect("a listener");
        let router = router.layer(middleware::from_fn_with_state(hosts, host::check));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let mut held = Vec::new();
        for round in 0..200 {
            let mut stream = TcpStream::connect(address).await.expect("a connection");
            stream
                .write_all(b"GET /healthz HTTP/1.1\r\nX: ")
                .await
                .expect("sent");
            held.push(stream);
            if round % 10 == 0 {
                let healthy = ask(address, "GET /healthz").await;
                assert!(healthy.starts_with("HTTP/1.1 200"), "{round}: {healthy}");
            }
        }
        // The last ones go too, although they say something now and then.
        let mut last = held.pop().expect("one");
        let ended = tokio::time::timeout(std::time::Duration::from_secs(60), async {
            let mut octet = [0];
            loop {
                let patience = std::time::Duration::from_millis(300);
                match tokio::time::timeout(patience, last.read(&mut octet)).await {
                    Ok(Ok(0) | Err(_)) => return,
                    Ok(Ok(_)) => {}
                    Err(_) => {
                        let _ = last.write_all(b"x").await;
                    }
                }
            }
        });
        ended.await.expect("it is closed");
    });
}
