"""A gRPC server and a client of it, by Python's grpcio, for the tests of what stands between them.

    peers.py serve                      listens on a free port, and prints it
    peers.py serve CERT KEY             the same by TLS
    peers.py call TARGET                makes the calls, and prints what each has come to
    peers.py call TARGET ROOTS NAME     the same by TLS, to a server of this name
    peers.py one TARGET CALL            makes one call of those alone
"""

import sys
import threading
import time
from concurrent import futures

import grpc

SMALL = 10_000


class Echo(grpc.GenericRpcHandler):
    def service(self, details):
        name = details.method.rsplit("/", 1)[-1]
        handlers = {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "Large": grpc.unary_unary_rpc_method_handler(self.large),
            "Fail": grpc.unary_unary_rpc_method_handler(self.fail),
            "FailLate": grpc.unary_stream_rpc_method_handler(self.fail_late),
            "Metadata": grpc.unary_unary_rpc_method_handler(self.metadata),
            "Slow": grpc.unary_unary_rpc_method_handler(self.slow),
            "Count": grpc.unary_stream_rpc_method_handler(self.count),
            "Sum": grpc.stream_unary_rpc_method_handler(self.sum),
            "Chat": grpc.stream_stream_rpc_method_handler(self.chat),
            "Cancelled": grpc.unary_stream_rpc_method_handler(self.cancelled),
            "WasCancelled": grpc.unary_unary_rpc_method_handler(self.was_cancelled),
        }
        return handlers.get(name)

    def __init__(self):
        self.gone = threading.Event()

    def unary(self, request, context):
        return b"you said " + request

    def large(self, request, context):
        return request

    def fail(self, request, context):
        context.set_trailing_metadata((("x-why", "on purpose"),))
        context.abort(grpc.StatusCode.NOT_FOUND, "no such thing: 100 %")

    def fail_late(self, request, context):
        yield b"one"
        context.abort(grpc.StatusCode.DATA_LOSS, "late")

    def metadata(self, request, context):
        seen = dict(context.invocation_metadata())
        context.send_initial_metadata((("x-first", "1"), ("x-bin", b"\0\1")))
        context.set_trailing_metadata((("x-last", "2"),))
        names = ["x-ours", "user-agent", "x-real"]
        return " ".join(f"{name}={seen.get(name, '')}" for name in names).encode()

    def slow(self, request, context):
        left = context.time_remaining()
        time.sleep(float(request))
        return b"%d" % (left is not None and left < 100)

    def count(self, request, context):
        for at in range(int(request)):
            yield b"%d" % at

    def sum(self, requests, context):
        return b"%d" % sum(int(request) for request in requests)

    def chat(self, requests, context):
        for request in requests:
            yield request[::-1]

    def cancelled(self, request, context):
        context.add_callback(self.gone.set)
        yield b"begun"
        while context.is_active():
            time.sleep(0.02)

    def was_cancelled(self, request, context):
        return b"%d" % self.gone.wait(20)


def serve(credentials):
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
    server.add_generic_rpc_handlers((Echo(),))
    if credentials:
        chain, key = (open(path, "rb").read() for path in credentials)
        secure = grpc.ssl_server_credentials([(key, chain)])
        port = server.add_secure_port("127.0.0.1:0", secure)
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    # Ends with whoever has started it.
    sys.stdin.read()


class Calls:
    def __init__(self, channel):
        self.channel = channel

    def path(self, name):
        return f"/test.Echo/{name}"

    def one(self, name, request, **options):
        return self.channel.unary_unary(self.path(name)).with_call(request, timeout=30, **options)

    def error(self, name, request, **options):
        try:
            self.one(name, request, **options)
        except grpc.RpcError as error:
            return error
        raise AssertionError(f"{name} did not fail")

    def unary(self):
        answer, call = self.one("Unary", b"hello")
        assert call.code() == grpc.StatusCode.OK
        return answer.decode()

    def empty(self):
        return self.one("Large", b"")[0].decode() + "empty"

    def large(self):
        sent = bytes(range(256)) * 12_000
        return self.one("Large", sent)[0] == sent

    def fail(self):
        error = self.error("Fail", b"")
        return (error.code().name, error.details(), dict(error.trailing_metadata()).get("x-why"))

    def unknown(self):
        return self.error("Nothing", b"").code().name

    def fail_late(self):
        got = []
        try:
            for answer in self.channel.unary_stream(self.path("FailLate"))(b"", timeout=30):
                got.append(answer.decode())
        except grpc.RpcError as error:
            return got, error.code().name, error.details()

    def metadata(self):
        answer, call = self.one("Metadata", b"", metadata=(("x-ours", "3"),))
        first, last = dict(call.initial_metadata()), dict(call.trailing_metadata())
        return answer.decode().split(" ")[0], first["x-first"], first["x-bin"], last["x-last"]

    def deadline(self):
        try:
            self.channel.unary_unary(self.path("Slow"))(b"5", timeout=0.3)
        except grpc.RpcError as error:
            return error.code().name

    def deadline_told(self):
        return self.one("Slow", b"0")[0].decode()

    def count(self):
        answers = self.channel.unary_stream(self.path("Count"))(b"%d" % SMALL, timeout=60)
        return sum(int(answer) for answer in answers) == SMALL * (SMALL - 1) // 2

    def sum(self):
        requests = (b"1" for _ in range(SMALL))
        return self.channel.stream_unary(self.path("Sum"))(requests, timeout=60).decode()

    def chat(self):
        """Each message waits for the answer to the one before."""
        said = threading.Semaphore(1)

        def requests():
            for at in range(200):
                said.acquire()
                yield b"%d!" % at

        got = []
        for answer in self.channel.stream_stream(self.path("Chat"))(requests(), timeout=60):
            got.append(answer)
            said.release()
        return got == [(b"%d!" % at)[::-1] for at in range(200)]

    def many(self):
        calls = self.channel.unary_unary(self.path("Unary"))
        answers = [calls.future(b"%d" % at, timeout=60) for at in range(500)]
        return all(it.result() == b"you said %d" % at for at, it in enumerate(answers))

    def cancel(self):
        call = self.channel.unary_stream(self.path("Cancelled"))(b"", timeout=30)
        assert next(call) == b"begun"
        call.cancel()
        return self.one("WasCancelled", b"")[0].decode()


NAMES = [
    "unary", "empty", "large", "fail", "unknown", "fail_late", "metadata", "deadline",
    "deadline_told", "count", "sum", "chat", "many", "cancel",
]


def call(target, names, secure):
    options = [("grpc.enable_http_proxy", 0), ("grpc.enable_retries", 0)]
    if secure:
        roots, name = secure
        credentials = grpc.ssl_channel_credentials(open(roots, "rb").read())
        options.append(("grpc.ssl_target_name_override", name))
        channel = grpc.secure_channel(target, credentials, options)
    else:
        channel = grpc.insecure_channel(target, options)
    with channel:
        calls = Calls(channel)
        for name in names:
            try:
                print(name, getattr(calls, name)(), flush=True)
            except grpc.RpcError as error:
                print(name, error.code().name, error.details(), flush=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", *credentials]:
            serve(credentials)
        case ["one", target, name]:
            call(target, [name], None)
        case ["call", target, *secure]:
            call(target, NAMES, secure)
