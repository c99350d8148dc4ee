"""How much this server costs, against nginx and a bare Tornado relay in the same run.

``make bench`` measures everything and prints a table. Read ``__main__`` for what is measured, then ``subjects`` for who
relays, ``upstream`` for the provider that they ask and ``load`` for the clients that ask them. ``light_upstream`` and
``light_client`` stand in for those where a single request is timed. Every one of them is a process of its own; only the
relay's CPU and memory are counted.
"""
