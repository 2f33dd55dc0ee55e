package problem

import "errors"

// HostStatus maps an error to the status code and body text of the functions
// host's dialect (fact sheet keys §1.7, §4.1): bodies are short plain text and
// empty wherever a hint would help a stranger.
func HostStatus(err error) (status int, text string) {
	switch k := KindOf(err); k {
	case Invalid:
		return 400, messageOf(err)
	case Unauthenticated:
		return 401, ""
	case Denied:
		return 403, ""
	case NotFound:
		return 404, ""
	case Conflict, Exists:
		return 409, messageOf(err)
	case TooLarge:
		return 413, ""
	case Throttled:
		return 429, ""
	case ReadOnly:
		return 409, messageOf(err)
	case Unsupported:
		return 501, messageOf(err)
	case Unavailable:
		return 503, messageOf(err)
	case Timeout:
		return 504, ""
	default: // Internal, Undecryptable: the operator finds the text in the log
		return 500, ""
	}
}

// messageOf gives the outermost message only: causes can name files and hosts
// that are none of a remote caller's business.
func messageOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Message
	}
	return KindOf(err).Error()
}
