"""What a failed call of a file system means, in one line.

Messages name the place, the server's error code and the remedy; they never repeat what the
server said, because an S3 server may quote an access key in its answer.
"""

import errno

from crowdselect_core.errors import StorageError, TransientStorageError

_DENIED = {
    "AccessDenied",
    "403",
    "Forbidden",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "AuthorizationHeaderMalformed",
}
_EXPIRED = {
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidToken",
    "TokenRefreshRequired",
    "RequestExpired",
    # Of botocore, which asks for new ones by itself where it can.
    "SSOTokenLoadError",
    "TokenRetrievalError",
    "UnauthorizedSSOTokenError",
}
_CLOCK = {"RequestTimeTooSkewed", "RequestInTheFuture"}
# Another one writes or removes the file at this moment; nobody knows yet who wins.
CONFLICTS = {"ConditionalRequestConflict", "OperationAborted", "409"}


def error_code(error: BaseException) -> str:
    """Return the server's error code of a failed call ('' where there is none)."""
    seen: BaseException | None = error
    while seen is not None:
        response = getattr(seen, "response", None)
        if isinstance(response, dict):
            code = response.get("Error", {}).get("Code")
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            return str(code or status or "")
        if isinstance(status := getattr(seen, "status", None), int):  # of http
            return str(status)
        seen = seen.__cause__ or seen.__context__
    return ""


def _found(error: BaseException) -> str:
    """Return the server's error code, or the error's kind where no server has spoken."""
    return error_code(error) or type(error).__name__


def is_denied(error: BaseException) -> bool:
    """Tell a refusal of the server, or credentials that are missing, from other failures."""
    refused = _found(error) in _DENIED | _EXPIRED | _CLOCK or isinstance(error, PermissionError)
    return refused or "NoCredentials" in type(error).__name__


def is_not_implemented(error: BaseException) -> bool:
    """Tell that a file system, or the server behind it, has no such call."""
    told = error_code(error) in ("NotImplemented", "501")
    unknown = isinstance(error, OSError) and error.errno == errno.ENOSYS
    return told or unknown or isinstance(error, NotImplementedError)


def _is_misnamed(error: BaseException) -> bool:
    """Tell a bucket's name that no server takes."""
    seen: BaseException | None = error
    while seen is not None:
        if type(seen).__name__ == "ParamValidationError":
            return True
        seen = seen.__cause__ or seen.__context__
    return error_code(error) == "InvalidBucketName"


def explain(error: BaseException, verb: str, where: str) -> StorageError:
    """Turn a failed call into one line that names the place, the cause and the remedy."""
    code, found = error_code(error), _found(error)
    is_s3 = "s3://" in where or "s3a://" in where
    if is_denied(error):
        return StorageError(f"cannot {verb} {where}: {_refusal(found, is_s3)}")
    if _is_misnamed(error):
        return StorageError(
            f"cannot {verb} {where}: the bucket's name is not valid; expected s3://bucket/prefix "
            "with a bucket of 3 to 63 lower-case letters, digits, dots and hyphens"
        )
    if code in ("NoSuchBucket", "404") or isinstance(error, FileNotFoundError):
        missing = "the bucket does not exist; create it or name another"
        missing = missing if is_s3 else "it does not exist; check the address"
        return StorageError(f"cannot {verb} {where}: {missing}")
    if code in ("QuotaExceeded", "InsufficientStorage") or (
        isinstance(error, OSError) and error.errno == errno.ENOSPC
    ):
        return StorageError(f"cannot {verb} {where}: no space left; free some, then run again")
    if code in CONFLICTS:
        return TransientStorageError(
            f"cannot {verb} {where}: others write or remove it at the same moment ({found}); run "
            "again; committed results stay"
        )
    address = "AWS_ENDPOINT_URL" if is_s3 else "the address"
    return TransientStorageError(
        f"cannot {verb} {where}: the server failed ({found}); check {address} and that the "
        "server runs, then run again; committed results stay"
    )


def _refusal(found: str, is_s3: bool) -> str:
    """Say why a server refuses whoever asks, and what to do."""
    if found in _CLOCK:
        return (
            f"the clock of this machine is wrong, the server says ({found}); set it (by NTP), then "
            "run again"
        )
    if found in _EXPIRED:
        names = " (AWS_SESSION_TOKEN, or `aws sso login` for AWS_PROFILE)" if is_s3 else ""
        return (
            f"the credentials have expired or their token is not valid ({found}); get new "
            f"ones{names}, then run again; committed results stay"
        )
    names = " (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_PROFILE)" if is_s3 else ""
    return (
        f"access denied ({found}); check the credentials in the environment{names} and their rights"
    )
