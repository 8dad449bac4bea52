"""How scripts/client.py reaches a server: proxies, redirects, passwords, TLS, gRPC."""

import base64
import datetime
import ssl

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.serving import stand_in


def test_this_machine_is_never_asked_through_a_proxy(ask, start, files, monkeypatch):
    proxy, proxied = start(stand_in.right)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, proxy)
    monkeypatch.delenv("no_proxy", raising=False)
    url, requests = start(stand_in.right)
    for host in ("127.0.0.1", "localhost", "LOCALHOST", "127.1", "0.0.0.0", "2130706433"):
        assert ask(f"--url={url.replace('127.0.0.1', host)}", *files(1))[0] == 0
    assert (len(requests), proxied) == (6, [])
    # What follows the proxy's name is not looked up: the stand-in takes the request itself.
    assert ask("--url=http://server.invalid:8501", *files(1))[0] == 0
    assert len(proxied) == 1


def test_a_redirect_takes_no_image_elsewhere(ask, start, files):
    elsewhere, others = start(stand_in.right)
    for status in (301, 302, 303, 307, 308):
        answer = (status, {"Location": f"{elsewhere}/x"}, b"")
        url, _ = start(stand_in.always(answer))
        images = files(1)
        code, _, errors = ask(f"--url={url}", *images)
        assert code == 1 and f"answered {status}" in errors[str(images[0])]
    assert others == []


def test_a_password_in_the_url_is_sent_and_never_printed(client, start, files, capsys):
    seen = []

    def answer(images, handler):
        seen.append(handler.headers["Authorization"])
        return stand_in.busy(404)

    url, _ = start(answer, raw=True)
    client.main([f"--url={url.replace('//', '//me:s%40cret@')}", *stand_in.names(files(1))])
    for bad in ("https:me:s%40cret@host", "ftp://me:s%40cret@host", "http://me:s%40cret@h/?a=1"):
        client.main([f"--url={bad}", *stand_in.names(files(1))])
    printed = "".join(capsys.readouterr())
    assert seen == ["Basic " + base64.b64encode(b"me:s@cret").decode()]
    assert "cret" not in printed and url in printed


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A PEM file with the key and the certificate of 127.0.0.1, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "stand-in")])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    hosts = [x509.DNSName("localhost")]
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("certificate") / "both.pem"
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + signed.public_bytes(pem))
    return path


def test_https_needs_a_certificate_that_is_trusted(ask, start, files, certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    url, requests = start(stand_in.right, context)
    url = url.replace("127.0.0.1", "localhost")
    images = files(2)
    status, _, errors = ask(f"--url={url}", "--batch=1", *images)
    assert (status, requests, list(errors)) == (1, [], stand_in.names(images))
    assert "CERTIFICATE_VERIFY_FAILED" in errors[str(images[1])]
    assert ask(f"--url={url}", f"--tls_ca={certificate}", *images)[0] == 0


def test_grpc_goes_over_tls_where_asked(ask, start_grpc, files, certificate):
    pem = certificate.read_bytes()
    port, service = start_grpc(stand_in.grpc_right, grpc.ssl_server_credentials([(pem, pem)]))
    images = files(2)
    address = f"--grpc=localhost:{port}"
    assert ask(address, "--tls", f"--tls_ca={certificate}", *images)[0] == 0
    for flags in ((), ("--tls",)):
        status, rows, errors = ask(address, "--retries=0", *flags, *images)
        assert (status, rows, list(errors)) == (1, {}, stand_in.names(images))
    assert service.counts == [2]


def test_a_grpc_message_that_is_too_large_is_halved(client, ask, start_grpc, files):
    client.MAX_ANSWER_BYTES = 1000
    wide = stand_in.PNG[:8] + b"x" * 300 + stand_in.PNG[-8:]
    port, service = start_grpc(
        lambda images, _: {
            "probability": [0.5] * len(images),
            "mask_png_bytes": [wide] * len(images),
        }
    )
    assert ask(f"--grpc=127.0.0.1:{port}", *files(8))[0] == 0
    assert service.counts == [8, 4, 2, 2, 4, 2, 2]


@pytest.mark.parametrize("code", ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"])
def test_a_busy_grpc_server_is_asked_again(ask, start_grpc, files, code):
    def answer(images, context):
        if len(service.counts) < 3:
            context.abort(grpc.StatusCode[code], "queue is full")
        return stand_in.grpc_right(images, context)

    port, service = start_grpc(answer)
    assert ask(f"--grpc=127.0.0.1:{port}", *files(2))[0] == 0
    assert service.counts == [2, 2, 2]


@pytest.mark.parametrize(
    ("probability", "reason"),
    [
        (
            stand_in.tensor(1, [10**13], float_val=[0.5]),
            "must be (1,). Received: (10000000000000,)",
        ),
        (stand_in.tensor(1, [1, 10**13], float_val=[0.5]), "must be (1,)"),
        (stand_in.tensor(1, [10**13, 0], float_val=[0.5]), "must be (1,)"),
        (stand_in.tensor(1, [-1], float_val=[0.5]), "must be (1,)"),
        (stand_in.tensor(1, [], float_val=[0.5]), "must be (1,). Received: ()"),
        (stand_in.tensor(1, [1], tensor_content=b"abc"), "no tensor of the images"),
        (stand_in.tensor(1, [1], float_val=[0.5, 0.5]), "no tensor of the images"),
        (stand_in.tensor(4, [1], int_val=[-5]), "no tensor of the images"),
        (stand_in.tensor(20, [1]), "no tensor of the images"),
        (stand_in.tensor(999, [1]), "no tensor of the images"),
    ],
)
def test_a_grpc_answer_that_is_no_tensor_of_the_images_fails_them(
    ask, start_grpc, files, probability, reason
):
    port, _ = start_grpc(
        lambda images, _: {"probability": probability if images[0][-1] == 1 else [0.25]}
    )
    images = files(3)
    status, rows, errors = ask(f"--grpc=127.0.0.1:{port}", "--batch=1", *images)
    assert (status, list(rows)) == (1, [str(images[0]), str(images[2])])
    assert list(errors) == [str(images[1])] and reason in errors[str(images[1])]


def test_a_grpc_output_that_no_such_model_has_is_not_read(ask, start_grpc, files):
    huge = stand_in.tensor(1, [10**13], float_val=[0.5])
    port, _ = start_grpc(lambda images, _: {"probability": [0.5], "another": huge})
    assert ask(f"--grpc=127.0.0.1:{port}", *files(1))[0] == 0


def test_prediction_sets_are_printed_alike_over_rest_and_grpc(ask, start, start_grpc, files):
    sets = ["benign", "refer"]
    url, _ = start(lambda images: stand_in.outputs(probability=[0.1, 0.5], prediction_set=sets))
    of_grpc = {"probability": [0.1, 0.5], "prediction_set": [b"benign", b"refer"]}
    port, _ = start_grpc(lambda images, context: of_grpc)

    for server in (f"--url={url}", f"--grpc=127.0.0.1:{port}"):
        status, rows, _ = ask(server, *files(2))
        assert status == 0
        assert [row["prediction_set"] for row in rows.values()] == sets


def test_an_error_of_one_image_comes_over_grpc_too(ask, start_grpc, files):
    port, _ = start_grpc(
        lambda images, _: {"probability": [0.5, float("nan")], "error": ["", "too many pixels"]}
    )
    images = files(2)
    status, rows, errors = ask(f"--grpc=127.0.0.1:{port}", *images)
    assert (status, list(rows)) == (1, [str(images[0])])
    assert errors == {str(images[1]): "too many pixels"}


@pytest.mark.parametrize(
    "target", ["127.0.0.1:{}", "ipv4:127.0.0.1:{}", "dns:///localhost:{}", "LOCALHOST:{}"]
)
def test_this_machine_is_never_asked_through_a_proxy_by_grpc(
    ask, start_grpc, files, monkeypatch, target
):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    port, _ = start_grpc(stand_in.grpc_right)
    assert ask(f"--grpc={target.format(port)}", "--retries=0", *files(1))[0] == 0


@pytest.mark.parametrize(
    "target",
    [
        "localhost",
        "localhost:8500",
        "LOCALHOST:8500",
        "localhost.",
        "localhost.:8500",
        "model.localhost:8500",
        "dns:localhost:8500",
        "dns:///localhost:8500",
        "dns://8.8.8.8/localhost:8500",
        "DNS:///localhost",
        "ipv4:127.0.0.1:8500",
        "ipv4:///127.0.0.1:8500",
        "ipv6:[::1]:8500",
        "ipv6:%5B::1%5D:8500",
        "127.0.0.1",
        "127.8.9.10:8500",
        "127.1",
        "127.1:8500",
        "0x7f.1:8500",
        "2130706433:8500",
        "0.0.0.0",
        "0.0.0.0:8500",
        "0:8500",
        "[::]:8500",
        "[::1]:8500",
        "[::1]",
        "::1",
        "::ffff:127.0.0.1",
        "[::ffff:127.0.0.1]:8500",
        "[::ffff:7f00:1]:8500",
    ],
)
def test_a_name_of_this_machine_is_known(client, target):
    assert client._is_local(client._grpc_host(target))


@pytest.mark.parametrize(
    "target",
    [
        "",
        ":8500",
        "server",
        "server:8500",
        "localhost.example.org:8500",
        "notlocalhost:8500",
        "127.0.0.1.example.org:8500",
        "dns:///server:8500",
        "dns://127.0.0.1/server:8500",
        "ipv4:10.0.0.1:8500",
        "ipv4:127.0.0.1:8500,10.0.0.1:8500",
        "128.0.0.1:8500",
        "10.1",
        "[fe80::1]:8500",
        "h\u00f6st:8500",
        "a%00b",
        "[::ffff:10.0.0.1]:8500",
        "2001:db8::7f00:1",
    ],
)
def test_another_machine_is_not_taken_for_this_one(client, target):
    assert not client._is_local(client._grpc_host(target))


@pytest.mark.parametrize(
    ("url", "is_local"),
    [
        ("http://LOCALHOST.:8501", True),
        ("http://%6cocalhost:8501", True),
        ("http://[::ffff:127.0.0.1]:8501", True),
        ("http://[::1]", True),
        ("http://127.0.0.1@server:8501", False),
        ("http://server:8501/localhost", False),
    ],
)
def test_only_another_machine_is_asked_through_a_proxy(client, monkeypatch, url, is_local):
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:3128")
    monkeypatch.delenv("no_proxy", raising=False)
    address, _ = client._address(url)
    opener = client._opener(address, None)
    names = [type(handler).__name__ for handler in opener.handlers]
    assert ("ProxyHandler" not in names) == is_local
