package docker

import (
	"errors"
	"io"
	"net"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/problem"
)

// gone tells whether an error says that the object is not there, or is being
// removed by somebody else.
func gone(err error) bool {
	return errdefs.IsNotFound(err) || err != nil && strings.Contains(err.Error(), "is already in progress")
}

// away tells whether an error says that the engine did not answer.
func away(err error) bool {
	var n net.Error
	return client.IsErrConnectionFailed(err) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &n)
}

// fault gives an error of the client its kind and reason; nil stays nil.
func fault(err error, what string) error {
	switch {
	case err == nil:
		return nil
	case away(err):
		return engine.Fail(engine.ReasonEngine, problem.Wrap(problem.Unavailable, what+": the container engine does not answer", err).WithNext("start it again; containers are repaired when it is back"))
	case errdefs.IsNotFound(err):
		return problem.Wrap(problem.NotFound, what, err)
	case errdefs.IsConflict(err):
		return problem.Wrap(problem.Conflict, what, err)
	}
	return startFault(err, what)
}

// has tells whether text has one of words.
func has(text string, words ...string) bool {
	for _, w := range words {
		if strings.Contains(text, w) {
			return true
		}
	}
	return false
}

// startFault reads why a container did not start from what the engine says; there
// is no other way to know.
func startFault(err error, what string) error {
	text := strings.ToLower(err.Error())
	switch {
	case has(text, "port is already allocated", "address already in use"):
		return engine.Fail(engine.ReasonPortTaken, problem.Wrap(problem.Conflict, what+": a port of this machine is used already", err).WithNext("choose another port, or end what uses it"))
	case has(text, "executable file not found", "exec format error") || has(text, "no such file or directory", "permission denied") && has(text, "exec"):
		return engine.Fail(engine.ReasonCommand, problem.Wrap(problem.Invalid, what+": its command cannot be executed", err).WithNext("check command and args, and that the image is for this machine's architecture"))
	}
	return engine.Fail(engine.ReasonOther, problem.Wrap(problem.Unavailable, what, err))
}

// pullFault says why an image cannot be pulled: name, credentials or network.
func pullFault(err error, image string, anonymous bool) error {
	text := strings.ToLower(err.Error())
	message := "image " + image + " cannot be pulled: "
	switch {
	case away(err) && client.IsErrConnectionFailed(err):
		return fault(err, "image "+image+" cannot be pulled")
	case has(text, "pull access denied", "repository does not exist") && anonymous:
		return engine.Fail(engine.ReasonImageName, problem.Wrap(problem.NotFound, message+"the registry has no such repository, or shows it to nobody without credentials", err).WithNext("check the name; for a private registry add it with an identity or a user name and password"))
	case has(text, "unauthorized", "denied", "forbidden", "no basic auth", "authentication required", "401", "403"):
		return engine.Fail(engine.ReasonImageAuth, problem.Wrap(problem.Denied, message+"the registry does not accept the credentials", err).WithNext("check the registry's identity and its role (AcrPull), or user name and password"))
	case has(text, "manifest unknown", "not found", "name unknown", "invalid reference", "no such image", "repository name must be"):
		return engine.Fail(engine.ReasonImageName, problem.Wrap(problem.NotFound, message+"the registry has no such image", err).WithNext("check name and tag"))
	case has(text, "dial ", "no such host", "timeout", "connection refused", "connection reset", "tls", "x509", "http response to https", "lookup ", "unreachable", "eof"):
		return engine.Fail(engine.ReasonImageNetwork, problem.Wrap(problem.Unavailable, message+"its registry cannot be reached", err).WithNext("check the registry's name and the network of the container engine"))
	}
	return engine.Fail(engine.ReasonImageNetwork, problem.Wrap(problem.Unavailable, message+"the engine gave up", err))
}
