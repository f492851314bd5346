# SPDX-License-Identifier: Apache-2.0
"""The dialect: bytes of the Binance Spot API on one side, values and kernel records on the other.

Everything here is a pure function of its arguments: the room imports no clock, no randomness and no I/O, so that every
replica and the simulator answer the same bytes. The rooms `replica` and `api` call it; it calls only `bidhall.core`.
"""
