"""An HTTP server that its clients cannot stop: uvicorn with bounds on connections, heads and time. For both services.

limits       the bounds
connections  who is admitted, and who leaves for a newcomer
tls          the handshake, once a connection is admitted
protocol     uvicorn's protocol on h11 with these bounds, and its configuration
"""
